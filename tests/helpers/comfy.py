"""A host for ComfyUI nodes that keeps ComfyUI's published contract, since ComfyUI itself is on no package registry.

Followed: docs.comfy.org, "Custom nodes: properties, datatypes, lifecycle" (what a node class must have, and what IMAGE
and MASK are) and "Workflow JSON", and for what the documents leave open the order of ComfyUI's own validation:
required inputs, types of links, numbers within min and max, values of lists.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.helpers.paths import ROOT

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
"""Types of inputs that the page shows as a field; lists of choices are the fifth."""


class WorkflowInterruptedError(Exception):
    """ComfyUI ended the workflow."""


class LoadImage:
    """ComfyUI's own node of this name, as documented: a picture of the input folder as IMAGE and MASK."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE", "MASK"), "load", "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        import folder_paths

        files = [p.name for p in Path(folder_paths.get_input_directory()).iterdir() if p.is_file()]
        return {"required": {"image": (files, {"image_upload": True})}}

    def load(self, image: str) -> tuple:
        import folder_paths

        picture = Image.open(Path(folder_paths.get_input_directory()) / image)
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)[None]
        if "A" not in picture.getbands():
            return pixels, torch.zeros(1, 64, 64)
        return pixels, 1 - torch.from_numpy(np.asarray(picture.getchannel("A"), np.float32) / 255)[None]


class PreviewImage:
    """ComfyUI's own node of this name: it shows an IMAGE."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "show", "image", True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",)}}

    def show(self, images: torch.Tensor) -> dict:
        return {"ui": {"images": [tuple(images.shape)]}, "result": ()}


class ComfyHost:
    """Runs workflows. `bar` has what the progress bar was told; `interrupt` ends a workflow when it returns true."""

    def __init__(self, folder: Path, monkeypatch: Any):
        self.input, self.output, self.temp, self.models = (folder / n for n in ("input", "output", "temp", "models"))
        for path in (self.input, self.output, self.models / "lvcd"):
            path.mkdir(parents=True)
        self.bar: list[tuple[int, int]] = []
        self.interrupt: Callable[[], bool] = lambda: False
        self.freed = 0
        paths, utils, memory = (types.ModuleType(n) for n in ("folder_paths", "comfy.utils", "comfy.model_management"))
        paths.models_dir = str(self.models)
        paths.get_input_directory = lambda: str(self.input)
        paths.get_output_directory = lambda: str(self.output)
        paths.get_temp_directory = lambda: str(self.temp)
        utils.ProgressBar = self._progress_bar()
        memory.processing_interrupted = lambda: self.interrupt()
        memory.throw_exception_if_processing_interrupted = self._throw
        memory.unload_all_models = self._free
        memory.soft_empty_cache = lambda: None
        comfy = types.ModuleType("comfy")
        comfy.utils, comfy.model_management = utils, memory
        for module in (paths, comfy, utils, memory):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        self.nodes = {"LoadImage": LoadImage, "PreviewImage": PreviewImage, **self._custom_nodes()}

    def run(self, prompt: dict[str, dict]) -> dict[str, Any]:
        """Check a workflow in the form of the API and run it => what each node returned. ValueError: it is bad."""
        if faults := [fault for node in prompt.values() for fault in self._faults(prompt, node)]:
            raise ValueError("; ".join(faults))
        done: dict[str, Any] = {}

        def execute(number: str) -> Any:
            if number not in done:
                node = prompt[number]
                cls = self.nodes[node["class_type"]]
                inputs = {k: execute(v[0])[v[1]] if _is_link(v) else v for k, v in node["inputs"].items()}
                result = getattr(cls(), cls.FUNCTION)(**inputs)
                done[number] = result["result"] if isinstance(result, dict) else result
                if len(done[number]) != len(cls.RETURN_TYPES):
                    raise ValueError(f"{node['class_type']} returned {len(done[number])} values")
            return done[number]

        with torch.inference_mode():
            for number, node in prompt.items():
                if getattr(self.nodes[node["class_type"]], "OUTPUT_NODE", False):
                    execute(number)
        return done

    def prompt_of(self, workflow: dict[str, Any]) -> dict[str, dict]:
        """Convert a workflow as the page saves it to the form of the API, as the page does when it is started."""
        links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
        prompt = {}
        for node in workflow["nodes"]:
            declared = self.nodes[node["type"]].INPUT_TYPES()
            fields = {k: v for part in ("required", "optional") for k, v in declared.get(part, {}).items()}
            values = list(node.get("widgets_values", []))
            inputs: dict[str, Any] = {}
            for name, declaration in fields.items():
                if isinstance(declaration[0], list) or declaration[0] in WIDGETS:
                    inputs[name] = values.pop(0)
                    if name == "seed":
                        values.pop(0)  # the page adds what happens to a seed after each run
                    if len(declaration) > 1 and declaration[1].get("image_upload"):
                        values.pop(0)
            if values:
                raise ValueError(f"{node['type']} has values that no field takes: {values}")
            inputs |= {i["name"]: links[i["link"]] for i in node.get("inputs", []) if i.get("link") is not None}
            prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
        return prompt

    def _faults(self, prompt: dict, node: dict) -> list[str]:
        declared = self.nodes[node["class_type"]].INPUT_TYPES()
        faults = [f"{name} is missing" for name in declared["required"] if name not in node["inputs"]]
        for name, value in node["inputs"].items():
            declaration = {**declared["required"], **declared.get("optional", {})}.get(name)
            if declaration is None:
                faults.append(f"{name} is no input of {node['class_type']}")
                continue
            kind, limits = declaration[0], declaration[1] if len(declaration) > 1 else {}
            if _is_link(value):
                made = self.nodes[prompt[value[0]]["class_type"]].RETURN_TYPES[value[1]]
                if made != kind:
                    faults.append(f"{name}: {made} is no {kind}")
            elif isinstance(kind, list):
                if value not in kind:
                    faults.append(f"{name}: {value} is none of {kind}")
            elif kind not in WIDGETS:
                faults.append(f"{name}: {kind} needs a link")
            elif kind in ("INT", "FLOAT") and not limits.get("min", value) <= value <= limits.get("max", value):
                faults.append(f"{name}: {value} is out of range")
        return faults

    def _custom_nodes(self) -> dict[str, type]:
        """Import the folder of nodes as ComfyUI does: as a package with a name of the host's choice."""
        path = ROOT / "comfyui"
        spec = importlib.util.spec_from_file_location("custom_nodes_lvcd", path / "__init__.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module.NODE_CLASS_MAPPINGS

    def _progress_bar(self) -> type:
        host = self

        class ProgressBar:
            def __init__(self, total: int, node_id: Any = None):
                self.total = total

            def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
                host.bar.append((value, self.total if total is None else total))

        return ProgressBar

    def _throw(self) -> None:
        if self.interrupt():
            raise WorkflowInterruptedError

    def _free(self) -> None:
        self.freed += 1


def _is_link(value: Any) -> bool:
    return isinstance(value, list)
