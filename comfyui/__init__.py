"""LVCD's nodes for ComfyUI. Put this folder, or a link to it, into `custom_nodes/` of a ComfyUI that has lvcd."""

from .nodes import NODES

NODE_CLASS_MAPPINGS = {f"LVCD{node.__name__.removesuffix('Node')}": node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {name: node.TITLE for name, node in NODE_CLASS_MAPPINGS.items()}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
