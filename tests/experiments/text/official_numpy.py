"""The official classifier in evaluation mode in NumPy, row by row: only the valid tokens of a row exist."""

import numpy as np

from pdeformer import cta


def numpy_logits(state, rows, *, kind, heads):
    """Logits of rows of ids without padding, in float64.

    The steps of the PDE stand behind the second LayerNorm of a layer, and the mean is over the tokens of the row.
    """
    state = {name: np.asarray(array, np.float64) for name, array in state.items()}
    prefix = "transformer.layers" if kind is None else "transformer_layers"
    layers = 1 + max(int(name.split(".")[-3]) for name in state if name.endswith("norm1.weight"))
    steps = len({name for name in state if name.startswith("pde_layers.0.") and name.endswith("alpha")})
    logits = []
    for ids in rows:
        x = state["embedding.weight"][ids] + state["pos_encoder"][0, : len(ids)]
        for i in range(layers):
            x = _layer(x, state, f"{prefix}.{i}.", heads)
            for s in range(steps):
                alpha = state[f"pde_layers.{i}.{s}.alpha"][0]
                beta = state.get(f"pde_layers.{i}.{s}.beta", np.zeros(1))[0]
                x = _step(x, kind, alpha, beta)
        logits.append(state["fc.weight"] @ x.mean(0) + state["fc.bias"])
    return np.stack(logits)


def _layer(x, state, name, heads):
    width = x.shape[1]
    qkv = x @ state[name + "self_attn.in_proj_weight"].T + state[name + "self_attn.in_proj_bias"]
    query, key, value = (part.reshape(len(x), heads, -1) for part in np.split(qkv, 3, axis=1))
    output = np.zeros_like(query)
    for head in range(heads):
        scores = query[:, head] @ key[:, head].T / np.sqrt(width / heads)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        output[:, head] = weights / weights.sum(1, keepdims=True) @ value[:, head]
    output = output.reshape(x.shape) @ state[name + "self_attn.out_proj.weight"].T
    x = _norm(x + output + state[name + "self_attn.out_proj.bias"], state, name + "norm1")
    inner = np.maximum(x @ state[name + "linear1.weight"].T + state[name + "linear1.bias"], 0)
    return _norm(
        x + inner @ state[name + "linear2.weight"].T + state[name + "linear2.bias"], state, name + "norm2"
    )


def _norm(x, state, name):
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return x * state[name + ".weight"] + state[name + ".bias"]


def _step(x, kind, alpha, beta):
    assert kind in cta.KINDS
    y = x.copy()
    for i in range(1, len(x) - 1):
        curvature = x[i + 1] - 2 * x[i] + x[i - 1]
        y[i] += (alpha**2 if kind == "wave" else alpha) * curvature
        if kind == "reaction-diffusion":
            y[i] += beta * x[i] / (1 + np.exp(x[i]))
        if kind == "advection-diffusion":
            y[i] += beta * (x[i + 1] - x[i - 1]) / 2
    return y
