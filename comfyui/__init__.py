"""LVCD's nodes for ComfyUI. Put this folder, or a link to it, into `custom_nodes/` of a ComfyUI that has lvcd."""

from .nodes import NODES

NODE_CLASS_MAPPINGS = {f"LVCD{node.__name__}": node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {f"LVCD{node.__name__}": node.TITLE for node in NODES}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
