"""A folder of diffusers, model_index.json and a folder for each part, described as a checkpoint of arvdm.

Its files say what a network is made of and nothing of how its frames are sampled; that comes from a recipe, the config
of an entry of the registry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..configs import Json, brief
from ..errors import CheckpointError
from .layout import CONFIG, PART_WEIGHTS, PIPELINE, read_text

TRANSFORMER, VAE, TEXT_ENCODER, TOKENIZER, SCHEDULER = "transformer", "vae", "text_encoder", "tokenizer", "scheduler"
PARTS = (TRANSFORMER, VAE, TEXT_ENCODER, TOKENIZER, SCHEDULER)  # what is used of a folder, and fetched
SCHEDULE = "scheduler_config.json"  # in the scheduler's folder
NETWORKS: dict[str, Json] = {  # classes that `models.wan` computes, and how the frames of a clip see each other
    "WanTransformer3DModel": {"attention": "full"},
    "SkyReelsV2Transformer3DModel": {"attention": "full", "time": "floor"},
    "CausalWanTransformer3DModel": {"attention": "block"},
    "RollingForcingWanTransformer3DModel": {"attention": "window"},
}
CODECS = ("AutoencoderKLWan",)
SHAPE = {  # field of a network's config -> key of transformer/config.json
    "channels": "in_channels",
    "heads": "num_attention_heads",
    "depth": "num_layers",
    "mlp": "ffn_dim",
    "text": "text_dim",
    "frequencies": "freq_dim",
}
FIXED: Json = {  # keys that `models.wan` knows one value of, which is also meant where they are absent
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "image_dim": None,
    "added_kv_proj_dim": None,
    "pos_embed_seq_len": None,
}
CODEC = {  # field of a codec's config -> key of vae/config.json; a test holds it to that of `models.wan_codec`
    "channels": "z_dim",
    "features": "base_dim",
    "multiples": "dim_mult",
    "blocks": "num_res_blocks",
    "attention": "attn_scales",
    "halves": "temperal_downsample",
    "mean": "latents_mean",
    "std": "latents_std",
}
FIXED_OF_CODEC: Json = {"is_residual": False, "in_channels": 3, "out_channels": 3, "patch_size": None}
SAMPLED = ("height", "width", "attention", "block", "time", "rate")  # fields of a network that a recipe sets
UNKNOWN: Json = {"sampling": {"schedule": "outpainting", "slots": 0}, "fps": 16}  # without a recipe; fps of Wan


def read_json(path: Path) -> Json:
    """The table of a JSON file.

    Raises: CheckpointError where it is missing, cannot be read or is not a table
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing.", hint="Download or copy the whole folder again.")
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a table.")
    return content


def classes_of(folder: Path) -> tuple[str, ...]:
    """Names of the classes by which a folder's recipe is found: pipeline, network and scheduler, as far as known."""
    index = read_json(folder / PIPELINE)
    names = [index.get("_class_name"), class_of(index, TRANSFORMER), class_of(index, SCHEDULER)]
    for part, file in ((TRANSFORMER, CONFIG), (SCHEDULER, SCHEDULE)):
        if (folder / part / file).is_file():
            names.append(read_json(folder / part / file).get("_class_name"))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def class_of(index: Mapping[str, object], part: str) -> str | None:
    """The class of a part that an index lists; None where it does not list one."""
    entry = index.get(part)
    name = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    return name if isinstance(name, str) else None


def check_class(path: Path) -> Json:
    """Values of a part's config.json, of a class that arvdm can run.

    Raises: CheckpointError where it is of another one
    """
    values, known = read_json(path), CODECS if path.parent.name == VAE else tuple(NETWORKS)
    if values.get("_class_name") not in known:
        raise CheckpointError(
            f"{path} describes a {brief(values.get('_class_name'))}, which arvdm cannot run.",
            hint=f"It runs {', '.join(known)}.",
        )
    return values


def describe(folder: Path, recipe: Mapping[str, object] | None) -> Json:
    """Config of a folder of diffusers.

    recipe: config by which such networks are sampled; None where that is not known
    Raises: CheckpointError where a part is missing or of a class that arvdm cannot run
    """
    index = read_json(folder / PIPELINE)
    extra = [name for name in index if name.startswith(f"{TRANSFORMER}_") and class_of(index, name)]
    if extra or not class_of(index, TRANSFORMER) or not class_of(index, VAE):
        what = f"lists {extra[0]} besides the {TRANSFORMER}" if extra else f"does not list a {TRANSFORMER} and a {VAE}"
        raise CheckpointError(f"{folder / PIPELINE} {what}, so arvdm cannot run it.")
    recipe = {"recipe": "", **UNKNOWN} if recipe is None else recipe
    network = network_of(check_class(folder / TRANSFORMER / CONFIG), folder / TRANSFORMER / CONFIG, recipe)
    codec = codec_of(check_class(folder / VAE / CONFIG), folder / VAE / CONFIG, recipe)
    return {
        **{key: value for key, value in recipe.items() if key not in ("network", "codec", "weights")},
        "format": 1,
        "model": "wan",
        "network": network,
        "codec": codec,
        "sampling": sampling_of(recipe, network),
        "diffusion": {"family": "flow", "prediction": "velocity"},
        "weights": {"network": f"{TRANSFORMER}/{PART_WEIGHTS}", "codec": f"{VAE}/{PART_WEIGHTS}"},
    }


def check_fixed(values: Mapping[str, object], fixed: Mapping[str, object], path: Path) -> None:
    """Refuse a part whose config has another value where arvdm knows one.

    Raises: CheckpointError
    """
    for key, only in fixed.items():
        if values.get(key, only) != only:
            raise CheckpointError(f"{path}: {key} is {brief(values[key])}; arvdm can only run {only}.")


def network_of(values: Mapping[str, object], path: Path, recipe: Mapping[str, object]) -> Json:
    """Config of a network of transformer/config.json, which takes precedence over the recipe where it says something.

    Raises: CheckpointError where it is of a shape that arvdm cannot run
    """
    check_fixed(values, FIXED, path)
    if absent := [key for key in (*SHAPE.values(), "attention_head_dim") if key not in values]:
        raise CheckpointError(f"{path} does not say {absent[0]}.")
    heads, width, patch = values["num_attention_heads"], values["attention_head_dim"], values.get("patch_size")
    if type(heads) is not int or type(width) is not int:
        raise CheckpointError(f"{path}: {brief(heads)} heads of {brief(width)} features are not whole numbers.")
    if not isinstance(patch, list) or len(patch) != 3 or patch[0] != 1 or patch[1] != patch[2]:
        raise CheckpointError(f"{path}: patch_size is {brief(patch)}, and arvdm runs squares of one latent, [1, n, n].")
    if values.get("out_channels") not in (None, values["in_channels"]):
        raise CheckpointError(f"{path}: out_channels is {brief(values['out_channels'])}, not in_channels.")
    shape = {field: values[key] for field, key in SHAPE.items()}
    shape |= {"dim": heads * width, "patch": patch[1], "cross_norm": values.get("cross_attn_norm", True)}
    chosen = recipe.get("network")
    sampled = {key: value for key, value in chosen.items() if key in SAMPLED} if isinstance(chosen, dict) else {}
    return {**shape, **NETWORKS[str(values["_class_name"])], **sampled, **stated(values)}


def stated(values: Mapping[str, object]) -> Json:
    """What transformer/config.json itself says of frames that see each other, and of frame rates."""
    said = {"rates": values["inject_sample_info"]} if "inject_sample_info" in values else Json()
    if (block := values.get("num_frame_per_block", 1)) != 1 and values.get("flag_causal_attention", True):
        said |= {"attention": "block", "block": block}
    if "num_frames_per_block" in values:
        said["block"] = values["num_frames_per_block"]
    return said


def codec_of(values: Mapping[str, object], path: Path, recipe: Mapping[str, object]) -> Json:
    """Config of a codec of vae/config.json, for frames of the recipe's size.

    Raises: CheckpointError where it is of a shape that arvdm cannot run
    """
    check_fixed(values, FIXED_OF_CODEC, path)
    if absent := [key for key in CODEC.values() if key not in values]:
        raise CheckpointError(f"{path} does not say {absent[0]}.")
    chosen = recipe.get("codec")
    size = {key: chosen[key] for key in ("height", "width") if key in chosen} if isinstance(chosen, dict) else {}
    return {field: values[key] for field, key in CODEC.items()} | size


def sampling_of(recipe: Mapping[str, object], network: Mapping[str, object]) -> Json:
    """How a recipe samples a network: in chunks of the frames that see each other, where it sets chunks."""
    chosen, block = recipe.get("sampling"), network.get("block")
    sampling = dict(chosen) if isinstance(chosen, dict) else Json()
    options = sampling.get("options")
    if isinstance(options, dict) and "chunk" in options and network["attention"] != "full" and block is not None:
        sampling |= {"options": options | {"chunk": block}, "group": block}
    return sampling
