"""Model folders without weights: config.json and the files of a processor, written as each era of the hub has them."""

import json

from tests.helpers.folders import llava_folder


def config_fields(*, anyres=False, text_model="llama", **fields):
    """The fields of a config.json that fits the processor of `llava_folder`."""
    token = llava_folder.tokenizer().convert_tokens_to_ids("<image>")
    pinpoints = {"image_grid_pinpoints": llava_folder.PINPOINTS} if anyres else {}
    return {
        "model_type": "llava_next" if anyres else "llava",
        "image_token_index": token,
        "text_config": {
            "model_type": text_model,
            "vocab_size": 400,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
        },
        "vision_config": {"model_type": "clip_vision_model", "image_size": 28, "patch_size": 7},
        **pinpoints,
        **fields,
    }


def save_folder(folder, *, anyres=False, config=None, template=None):
    """Save processor and config.json as transformers does today."""
    processor = llava_folder.processor(anyres=anyres)
    processor.chat_template = template
    processor.save_pretrained(folder)
    fields = config_fields(anyres=anyres) if config is None else config
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def edit_json(file, **fields):
    """Change fields of a JSON file; None deletes one."""
    old = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({name: value for name, value in (old | fields).items() if value is not None}))


def make_old(folder):
    """Rewrite the files of a processor in the layout of 2023: preprocessor_config.json and nothing else."""
    file = folder / "processor_config.json"
    fields = json.loads(file.read_text())
    file.unlink()
    edit_json(
        folder / "preprocessor_config.json",
        **fields["image_processor"],
        processor_class=fields["processor_class"],
    )
    return folder
