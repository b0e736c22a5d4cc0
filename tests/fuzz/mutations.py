"""Mutations that keep what a reader looks at first: checksums of a PNG, and the JSON before binary tensors."""

import json
import random
import zlib
from collections.abc import Callable
from typing import Any

# From an input and a seed to an input; the plain mutation of bytes is libFuzzer's and is passed in.
Mutation = Callable[[bytes, int], bytes]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 255, 256, 2**31, 2**32, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308),
    *("", "images", "BYTES", "UINT8", "score", "AAAA", "=", "\ud800", "\0", "binary_data_size", "binary_data"),
    *([], [0], [[]], {}, {"binary_data_size": 0}, {"binary_data": True}, {"classification": 1}),
)


def of_pictures(plain: Mutation) -> Mutation:
    """Mutate bytes, and three times in four give the chunks of a PNG their right checksums again."""

    def mutate(content: bytes, seed: int) -> bytes:
        changed = plain(content, seed)
        return mended(changed) if seed % 4 else changed

    return mutate


def mended(content: bytes) -> bytes:
    """A PNG whose chunks have their right checksums as far as they go; what is none is as it was."""
    if not content.startswith(_SIGNATURE):
        return content
    whole, position = bytearray(content), len(_SIGNATURE)
    while position + 12 <= len(content):
        end = position + 8 + int.from_bytes(content[position : position + 4])
        if end + 4 > len(content):
            break
        whole[end : end + 4] = zlib.crc32(content[position + 4 : end]).to_bytes(4)
        position = end + 4
    return bytes(whole)


def of_tensors(plain: Mutation) -> Mutation:
    """Three times in four change a value or a key of the JSON, or the binary tensors, and let the sizes be right."""

    def mutate(content: bytes, seed: int) -> bytes:
        line, _, body = content.partition(b"\n")
        size_bytes = int(line) if line.isdigit() else len(body)
        try:
            document = json.loads(body[:size_bytes])
        except (ValueError, RecursionError):
            return plain(content, seed)
        chance, binary = random.Random(seed), body[size_bytes:]
        match chance.randrange(4):
            case 0:
                return plain(content, seed)
            case 1:
                binary = plain(binary, seed)
            case _:
                _graft(document, chance)
        header = json.dumps(document, allow_nan=True).encode()
        return (b"%d" % len(header) if binary else b"") + b"\n" + header + binary

    return mutate


def _graft(document: Any, chance: random.Random) -> None:
    """Put another value, or one from elsewhere in it, at a place of *document*, take one out, or double one."""
    places = list(_places(document))
    if not places:
        return
    holder, key = chance.choice(places)
    other_holder, other_key = chance.choice(places)
    match chance.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 2:
            holder[key] = json.loads(json.dumps(other_holder[other_key]))
        case 3 if isinstance(holder, dict):
            holder[str(chance.choice(_VALUES))] = holder.pop(key)
        case _:
            holder[key] = chance.choice(_VALUES)


def _places(node: Any) -> Any:
    """Every place in a document that holds a value: a list or an object, and an index or a key."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])
