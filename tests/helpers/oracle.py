"""Slow NumPy references of the operators: dense matrices filled one entry at a time, in float64."""

import numpy as np


def runs(length, segment_ids=None):
    """Return the runs as lists of token indices: neighbors of one positive id."""
    ids = np.ones(length, int) if segment_ids is None else np.asarray(segment_ids)
    result = []
    for j in range(length):
        if ids[j] <= 0:
            continue
        if result and result[-1][-1] == j - 1 and ids[j - 1] == ids[j]:
            result[-1].append(j)
        else:
            result.append([j])
    return result


def increment_matrix(alpha, beta, length, boundary, segment_ids=None):
    """Return G of one explicit step u + G u for u_t = α u_xx + β u_x (upwind), dt = 1."""
    G = np.zeros((length, length))
    down, up = max(beta, 0.0), max(-beta, 0.0)  # mass carried to lower and to higher index
    for run in runs(length, segment_ids):
        n = len(run)
        for a, j in enumerate(run):
            left = run[a - 1] if a > 0 or boundary == "periodic" else None
            right = run[(a + 1) % n] if a + 1 < n or boundary == "periodic" else None
            if boundary == "copy" and (left is None or right is None):
                continue
            closed = boundary == "neumann"
            if right is not None:
                G[j, right] += alpha + down
            if left is not None:
                G[j, left] += alpha + up
            # mass leaves token j to both sides by diffusion, and along β by advection, unless a wall is closed
            G[j, j] -= alpha * ((right is not None or not closed) + (left is not None or not closed))
            G[j, j] -= down * (left is not None or not closed) + up * (right is not None or not closed)
    return G


def heat_taps(alpha, steps):
    """Return the taps g(-n) … g(n) of n = `steps` heat steps, the n-fold convolution of (α, 1-2α, α)."""
    g = np.ones(1)
    for _ in range(steps):
        g = np.convolve(g, [alpha, 1 - 2 * alpha, alpha])
    return g


def causal_matrix(alpha, beta, length, steps, segment_ids=None):
    """Return the matrix of `steps` shifts by |β| and the half-line kernel, constant before the start of a run."""
    shift, kernel = np.eye(length), np.eye(length)
    g = heat_taps(alpha, steps)
    for run in runs(length, segment_ids):
        for a, j in enumerate(run):
            shift[j] = 0
            shift[j, j] += 1 - abs(beta)
            shift[j, run[max(a - 1, 0)]] += abs(beta)
            kernel[j] = 0
            for k in range(steps + 1):
                weight = g[steps + k] + (g[steps + k + 1] if k < steps else 0.0)
                kernel[j, run[max(a - k, 0)]] += weight
    return kernel @ np.linalg.matrix_power(shift, steps)


def reaction_flow(u, growth, reaction):
    """Return the exact flow of u_t = β u (1 - u) or β u (1 - u²), with growth = βt."""
    if reaction == "fisher":
        return u * np.exp(growth) / (1 + u * (np.exp(growth) - 1))
    return u / np.sqrt(u**2 + (1 - u**2) * np.exp(-2 * growth))


def changing(length, boundary, segment_ids=None):
    """Return the mask (T, 1) of the tokens that may change: no padding, and no end of a run under "copy"."""
    mask = np.zeros((length, 1), bool)
    for run in runs(length, segment_ids):
        mask[run[1:-1] if boundary == "copy" else run] = True
    return mask


def evolve(u, pde, coefficients, *, steps, dt=1.0, boundary="neumann", segment_ids=None, causal=False):
    """Evolve u (T, D) channel by channel; `coefficients` maps names to scalars or (D,), `pde` is the class name."""
    u = np.asarray(u, np.float64)
    out = np.empty_like(u)
    for c in range(u.shape[1]):
        values = {
            k: float(np.broadcast_to(v, u.shape[1:])[c]) for k, v in coefficients.items() if k != "reaction"
        }
        out[:, [c]] = _evolve_channel(
            u[:, [c]], pde, values, coefficients.get("reaction"), steps, dt, boundary, segment_ids, causal
        )
    return out


def _evolve_channel(u, pde, c, reaction, steps, dt, boundary, segment_ids, causal):
    length = len(u)
    if pde == "Wave":
        L = increment_matrix(1.0, 0.0, length, boundary, segment_ids)
        r = (c["speed"] * dt) ** 2
        previous, current = u, u + 0.5 * r * L @ u
        for _ in range(steps - 1):
            previous, current = current, 2 * current - previous + r * L @ current
        return current
    alpha, beta = c["alpha"] * dt, c.get("beta", 0.0) * dt
    drift = beta if pde == "AdvectionDiffusion" else 0.0
    mask = changing(length, boundary, segment_ids)
    if causal:
        M = causal_matrix(alpha, drift, length, steps, segment_ids)
        if pde == "ReactionDiffusion":
            u = np.where(mask, reaction_flow(u, beta * steps / 2, reaction), u)
            return np.where(mask, reaction_flow(M @ u, beta * steps / 2, reaction), u)
        return M @ u
    M = np.eye(length) + increment_matrix(alpha, drift, length, boundary, segment_ids)
    for _ in range(steps):
        if pde == "ReactionDiffusion":
            u = np.where(mask, reaction_flow(u, beta / 2, reaction), u)
        u = M @ u
        if pde == "ReactionDiffusion":
            u = np.where(mask, reaction_flow(u, beta / 2, reaction), u)
    return u


def evolve_vector(kind, coefficients, u, ids, order="strang", reaction="fisher"):
    """Evolve u over tokens with `ids` by dense matrices, one explicit step for each dict of coefficients."""
    matrices = [
        increment_matrix(c.get("alpha", 0.0), c.get("beta", 0.0), len(u), "neumann", ids)
        if kind == "advection"
        else increment_matrix(1.0, 0.0, len(u), "neumann", ids)
        for c in coefficients
    ]
    power = {"fisher": 1, "allen_cahn": 2}[reaction]
    if kind == "reaction" and order == "reaction_first":
        u = u + sum(c["beta"] for c in coefficients) * u * (1 - u**power)
    previous = None
    for c, G in zip(coefficients, matrices, strict=True):
        if kind == "diffusion" or (kind == "reaction" and order == "reaction_first"):
            u = u + c["alpha"] * (G @ u)
        elif kind == "advection":
            u = u + G @ u
        elif kind == "wave":
            increment = c["speed"] ** 2 * (G @ u)
            u, previous = (u + increment / 2 if previous is None else 2 * u - previous + increment), u
        elif order == "euler":
            u = u + c["alpha"] * (G @ u) + c["beta"] * u * (1 - u**power)
        else:
            u = reaction_flow(u, c["beta"] / 2, reaction)
            u = u + c["alpha"] * (G @ u)
            u = reaction_flow(u, c["beta"] / 2, reaction)
    return u


def attention_weights(
    query,
    key,
    kind,
    coefficients,
    *,
    target="weights",
    axis="key",
    segment_ids=None,
    is_causal=False,
    window=None,
    scale=None,
    renormalize=False,
    order="strang",
    reaction="fisher",
    key_segment_ids=None,
    keep=None,
    dropout=0.0,
):
    """Return the evolved attention weights (B, N, T, S), one row (column) at a time.

    `coefficients` is a list over heads of lists over steps of dicts; `keep` (B, N, T, S) are the pairs that dropout
    leaves.
    """
    query, key = (np.asarray(x, np.float64) for x in (query, key))
    B, T, N, H = query.shape
    S = key.shape[1]
    ids = np.ones((B, S), int) if segment_ids is None else np.asarray(segment_ids)
    query_ids = ids if T == S else np.ones((B, T), int)
    if key_segment_ids is not None:
        query_ids = np.ones((B, T), int) if segment_ids is None else ids
        ids = np.asarray(key_segment_ids).astype(int)
    out = np.zeros((B, N, T, S))
    for b in range(B):
        for n in range(N):
            k = np.where(ids[b][:, None] > 0, key[b, :, n * key.shape[2] // N], 0)
            q = np.where(query_ids[b][:, None] > 0, query[b, :, n], 0)
            S0 = (H**-0.5 if scale is None else scale) * q @ k.T

            def evolve(matrix, b=b, n=n):
                def evolve_row(u, ids):
                    return evolve_vector(kind, coefficients[n], u, ids, order, reaction)

                matrix = matrix.copy()
                if axis in ("key", "both"):
                    for t in range(T):
                        key_ids = ids[b].copy()
                        if is_causal:
                            key_ids[max(t + S - T + 1, 0) :] = 0
                        matrix[t] = evolve_row(matrix[t], key_ids)
                if axis in ("query", "both"):
                    for s in range(S):
                        matrix[:, s] = evolve_row(matrix[:, s], ids[b])
                return matrix

            A = evolve(S0) if target == "logits" else S0
            for t in range(T):
                p = t + S - T
                mask = (ids[b] == query_ids[b][t]) & (ids[b] > 0)
                s = np.arange(S)
                mask &= (s <= p) if is_causal else True
                mask &= (abs(s - p) <= window) if window is not None else True
                weights = np.where(mask, np.exp(A[t] - A[t].max()), 0)
                A[t] = weights / weights.sum() if mask.any() else 0
            A = A if keep is None else np.where(keep[b, n], A / (1 - dropout), 0)
            A = evolve(A) if target == "weights" else A
            if renormalize:
                total = A.sum(-1, keepdims=True)
                A = A / np.where(total == 0, 1, total)
            out[b, n] = A
    return out
