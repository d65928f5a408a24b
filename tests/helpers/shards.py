"""Small shards, in which every pixel tells which clip and frame it is of."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np

from lvcd.shards.format import ShardWriter

SIZE = (16, 24)
ENCODERS = {"vae": "ab", "scale": 0.2, "image_encoder": "cd"}


def key_of(number):
    """Return the key of a clip."""
    return f"film-00000000-{number:06d}"


def picture(number, frame):
    """Return a frame (H W 3), uint8: red is the number of its clip, green its own."""
    return np.full((*SIZE, 3), (number, frame, 200), np.uint8)


def drawing(number, frame):
    """Return its line art (H W), uint8: row `frame` has `number` + 1 black pixels."""
    lines = np.full(SIZE, 255, np.uint8)
    lines[frame, : number + 1] = 0
    return lines


def write_shards(folder, clips=(3, 2, 4), frames=5):
    """Write shards of so many clips each, numbered through, and return the keys of all clips."""
    numbers = iter(range(sum(clips)))

    def fill(shard, count):
        for number in (next(numbers) for _ in range(count)):
            pairs = [(picture(number, i), drawing(number, i)) for i in range(frames)]
            shard.add(key_of(number), {"frames": frames, "fps": 24.0}, pairs)

    _write(folder, clips, fill, {"format": "lvcd shards 1", "job": {}, "films": [], "counts": {}})
    return [key_of(number) for number in range(sum(clips))]


def write_encoded(shards, clips=(3, 2, 4), frames=5, stage="16p", size=SIZE, encoders=ENCODERS):
    """Write encoded shards beside them: latents are full of number + frame / 10, tokens of number + frame / 4."""
    numbers = iter(range(sum(clips)))

    def fill(shard, count):
        for number in (next(numbers) for _ in range(count)):
            latents = [np.full((4, 2, 3), number + i / 10, np.float16) for i in range(frames)]
            tokens = [np.full(6, number + i / 4, np.float16) for i in range(frames)]
            drawings = [drawing(number, i) for i in range(frames)]
            arrays = {"latents": latents, "tokens": tokens, "sketches": drawings}
            files = {f"{name}.npy": npy(np.stack(array)) for name, array in arrays.items()}
            shard.add_files(key_of(number), {"json": json.dumps({"frames": frames}).encode(), **files})

    head = {
        "format": "lvcd encoded 1",
        "source_sha256": hashlib.sha256((shards / "manifest.json").read_bytes()).hexdigest(),
        "stage": {"name": stage, "height": size[0], "width": size[1]},
        "encoders": encoders,
    }
    _write(shards / stage, clips, fill, head)


def npy(array):
    """Return the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _write(folder, clips, fill, head):
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for index, count in enumerate(clips):
        path = folder / f"shard-{index:05d}.tar"
        with path.open("wb") as file, ShardWriter(file) as shard:
            fill(shard, count)
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        shards.append({"name": path.name, "sha256": digest, "bytes": len(data), "clips": count})
    (folder / "manifest.json").write_text(json.dumps({**head, "shards": shards}))
