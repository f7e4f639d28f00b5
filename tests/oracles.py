"""Slow, plain references in fp64: over all pairs, written without a look at the package."""

import itertools
import math

import numpy as np


def unit_rows(rows, center=True):
    """Centred unit vectors of the valid rows, and their indices."""
    rows = np.asarray(rows, dtype=np.float64)
    keep = [i for i, row in enumerate(rows) if np.isfinite(row).all() and np.any(row != 0)]
    if not keep:
        return np.zeros((0, rows.shape[1])), []
    mean = np.mean([rows[i] for i in keep], axis=0) if center else np.zeros(rows.shape[1])
    units, kept = [], []
    for i in keep:
        difference = rows[i] - mean
        length = math.sqrt(float(np.dot(difference, difference)))
        if length > 1e-12 * math.sqrt(float(np.dot(rows[i], rows[i]))):
            units.append(difference / length)
            kept.append(i)
    return np.array(units).reshape(len(kept), rows.shape[1]), kept


def mean_or_nan(values):
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def within_between(rows, codes, center=True):
    """Mean cosine of pairs with the same value, and of pairs with different values."""
    units, kept = unit_rows(rows, center)
    codes = np.array([int(codes[i]) for i in kept], dtype=np.int64)
    units, codes = units[codes >= 0], codes[codes >= 0]
    first, second = np.triu_indices(len(codes), 1)  # each pair of rows once
    cosines, same = (units @ units.T)[first, second], codes[first] == codes[second]
    return tuple(float(c.mean()) if len(c) else math.nan for c in (cosines[same], cosines[~same]))


def strength(rows, codes, center=True):
    """Bias-corrected share of the spread of the unit rows that lies between values."""
    units, kept = unit_rows(rows, center)
    labelled = [(u, int(codes[i])) for u, i in zip(units, kept, strict=True) if codes[i] >= 0]
    values = sorted({value for _, value in labelled})
    n, k = len(labelled), len(values)
    if n <= k:
        return math.nan
    grand = np.mean([u for u, _ in labelled], axis=0)
    energy = sum(float(np.sum((u - grand) ** 2)) for u, _ in labelled)
    if energy < 1e-12 * n:
        return math.nan
    between = 0.0
    for value in values:
        members = [u for u, v in labelled if v == value]
        between += len(members) * float(np.sum((np.mean(members, axis=0) - grand) ** 2))
    chance = (k - 1) / (n - 1)
    return (between / energy - chance) / (1 - chance)


def partial_gap(rows, codes, a, center=True):
    """Mean over strata of within minus between, by pairs of rows that agree on all but `a`."""
    units, kept = unit_rows(rows, center)
    strata = {}
    for (i, u), (j, v) in itertools.combinations(zip(kept, units, strict=True), 2):
        first, second = list(map(int, codes[i])), list(map(int, codes[j]))
        x, y = first.pop(a), second.pop(a)
        if x >= 0 and y >= 0 and first == second:
            same, different = strata.setdefault(tuple(first), ([], []))
            (same if x == y else different).append(float(np.dot(u, v)))
    total = weights = 0.0
    for same, different in strata.values():
        if same and different:
            weight = len(same) * len(different) / (len(same) + len(different))
            total += weight * (mean_or_nan(same) - mean_or_nan(different))
            weights += weight
    return total / weights if weights else math.nan


def strata_of(codes, kept, a):
    """The places in `kept` of rows that agree on all but `a`, those that it labels."""
    strata = {}
    for place, i in enumerate(kept):
        others = list(map(int, codes[i]))
        if others.pop(a) >= 0:
            strata.setdefault(tuple(others), []).append(place)
    return list(strata.values())


def all_partial_gaps(rows, codes, a, center=True):
    """The partial gap of each way to hand out the same labels within strata, as lists of them."""
    _, kept = unit_rows(rows, center)
    strata = strata_of(codes, kept, a)
    handed = [itertools.permutations([codes[kept[p]][a] for p in own]) for own in strata]
    for labels in itertools.product(*handed):
        changed = [list(map(int, row)) for row in codes]
        for own, new in zip(strata, labels, strict=True):
            for place, label in zip(own, new, strict=True):
                changed[kept[place]][a] = int(label)
        yield partial_gap(rows, changed, a, center)


def drawn_partial_gaps(rows, codes, a, draws, seed, center=True):
    """The partial gap, and that of `draws` random ways to hand out labels within strata."""
    units, kept = unit_rows(rows, center)
    generator = np.random.default_rng(seed)
    total, weights = np.zeros(draws + 1), 0.0
    for own in strata_of(codes, kept, a):
        labels = np.array([int(codes[kept[p]][a]) for p in own])
        gram = units[own] @ units[own].T
        np.fill_diagonal(gram, 0.0)
        same = float((labels[:, None] == labels).sum() - len(own))
        different = len(own) * (len(own) - 1) - same
        if not (same and different):
            continue
        tiled = generator.permuted(np.tile(labels, (draws, 1)), axis=1)
        permuted = np.concatenate([labels[None], tiled])
        alike = np.zeros(draws + 1)
        for value in set(labels.tolist()):
            has_it = (permuted == value).astype(np.float64)
            alike += np.einsum("di,di->d", has_it @ gram, has_it)
        weight = same * different / (same + different)
        total += weight * (alike / same - (gram.sum() - alike) / different)
        weights += weight
    return total[0] / weights, total[1:] / weights


def same_value_total(gram, codes):
    """Sum of the off-diagonal entries of `gram` where both rows have the same code."""
    same = codes[:, None] == codes[None, :]
    return float((gram * same).sum() - np.trace(gram))


def permutation_moments(rows, codes, draws, seed, center=True):
    """Statistic, and mean and standard deviation of it over sampled permutations."""
    units, kept = unit_rows(rows, center)
    codes = np.asarray(codes)[kept]
    gram = units[codes >= 0] @ units[codes >= 0].T
    codes = codes[codes >= 0]
    generator = np.random.default_rng(seed)
    permuted = generator.permuted(np.tile(codes, (draws, 1)), axis=1)
    drawn = np.zeros(draws)
    for value in set(codes.tolist()):  # all draws at once: the entries of `gram` at its pairs
        has_it = (permuted == value).astype(np.float64)
        drawn += np.einsum("di,di->d", has_it @ gram, has_it) - has_it @ np.diag(gram)
    return same_value_total(gram, codes), float(np.mean(drawn)), float(np.std(drawn))


def all_permutation_moments(rows, codes, center=True):
    """As `permutation_moments`, over every permutation."""
    units, kept = unit_rows(rows, center)
    codes = np.asarray(codes)[kept]
    gram = units @ units.T
    drawn = [same_value_total(gram, np.array(p)) for p in itertools.permutations(codes)]
    return same_value_total(gram, codes), float(np.mean(drawn)), float(np.std(drawn))


def spectrum(rows, center=True):
    """Asymmetry, participation ratio and effective rank from the singular values of the rows."""
    units, _ = unit_rows(rows, center)
    n, width = units.shape
    shares = np.linalg.svd(units, compute_uv=False) ** 2 / n
    rank = min(width, n - 1 if center else n)
    squares = float(np.sum(shares**2))
    positive = shares[shares > 1e-15]
    return {
        "asymmetry": (squares - 1 / rank) / (1 - 1 / rank) if rank > 1 else math.nan,
        "participation_ratio": 1 / squares,
        "effective_rank": math.exp(-float(np.sum(positive * np.log(positive)))),
    }


def neural_collapse(rows, labels, weight, bias):
    """All figures by loops over rows, classes and pairs of classes."""
    rows = np.asarray(rows, dtype=np.float64)
    labels = [int(label) for label in labels]
    classes = sorted({label for label in labels if label >= 0})
    members = {c: [r for r, y in zip(rows, labels, strict=True) if y == c] for c in classes}
    means = {c: np.mean(members[c], axis=0) for c in classes}
    centre = np.mean([means[c] for c in classes], axis=0)
    total = sum(len(m) for m in members.values())
    width = rows.shape[1]
    within, between = np.zeros((width, width)), np.zeros((width, width))
    for c in classes:
        between += np.outer(means[c] - centre, means[c] - centre) / len(classes)
        for row in members[c]:
            within += np.outer(row - means[c], row - means[c]) / total
    variance = {
        c: mean_or_nan(float(np.sum((r - means[c]) ** 2)) for r in members[c]) for c in classes
    }
    pairs = list(itertools.permutations(classes, 2))
    lengths = [float(np.linalg.norm(means[c] - centre)) for c in classes]
    units = {c: (means[c] - centre) / np.linalg.norm(means[c] - centre) for c in classes}
    cosines = [float(np.dot(units[c], units[e])) for c, e in pairs]
    k = len(classes)
    gram = np.array([[float(np.dot(units[c], units[e])) for e in classes] for c in classes])
    etf = np.array([[1.0 if c == e else -1 / (k - 1) for e in classes] for c in classes])
    stacked = np.array([means[c] - centre for c in classes])
    agreed = []
    for row, label in zip(rows, labels, strict=True):
        if label >= 0:
            nearest = min(classes, key=lambda c: float(np.sum((row - means[c]) ** 2)))
            agreed.append(int(np.argmax(weight @ row + bias)) == nearest)
    return {
        "nc1_trace": np.trace(within) / np.trace(between),
        "nc1_pinv": np.trace(within @ np.linalg.pinv(between)) / k,
        "cdnv": mean_or_nan(
            (variance[c] + variance[e]) / (2 * float(np.sum((means[c] - means[e]) ** 2)))
            for c, e in pairs
        ),
        "equinorm": float(np.std(lengths) / np.mean(lengths)),
        "equiangularity": float(np.std(cosines)),
        "etf_distance": float(
            np.linalg.norm(gram / np.linalg.norm(gram) - etf / np.linalg.norm(etf))
        ),
        "nc3": float(
            np.sum((weight / np.linalg.norm(weight) - stacked / np.linalg.norm(stacked)) ** 2)
        )
        if len(weight) == k
        else math.nan,
        "nc4": mean_or_nan(agreed),
    }


def ood_orthogonality(rows, labels, outside):
    """Mean |cosine| of the class means to the mean outside, entry by entry, and how many means.

    A mean that is shorter than 1e-12 of its rows has cancelled.
    """

    def mean_of(chosen):
        finite = [[float(x) for x in row] for row in chosen if np.isfinite(row).all()]
        if not finite:
            return None
        mean = [math.fsum(column) / len(finite) for column in zip(*finite, strict=True)]
        length = math.fsum(math.hypot(*row) for row in finite) / len(finite)
        return mean if math.hypot(*mean) > 1e-12 * length else None

    other, means = mean_of(outside), []
    for c in sorted({int(label) for label in labels if label >= 0}):
        mean = mean_of([row for row, y in zip(rows, labels, strict=True) if y == c])
        means += [] if mean is None else [mean]
    cosines = []
    for mean in means if other is not None else []:
        product = math.fsum(x * y for x, y in zip(mean, other, strict=True))
        cosines.append(abs(product) / math.hypot(*mean) / math.hypot(*other))
    return {"nc5": mean_or_nan(cosines), "classes": len(means)}


def direction(rows, codes, g, nearest):
    """Difference of means of value `g`, the share of variance it explains, and nearest rows."""
    valid = [i for i, row in enumerate(rows) if np.isfinite(row).all() and np.any(row != 0)]
    own = [rows[i] for i in valid if codes[i] == g]
    others = [rows[i] for i in valid if codes[i] >= 0 and codes[i] != g]
    if not own or not others:
        return np.full(rows.shape[1], math.nan), math.nan, []
    vector = np.mean(own, axis=0) - np.mean(others, axis=0)
    # One-way analysis of variance: between groups over total sum of squares.
    grand = np.mean(own + others, axis=0)
    total = sum(float(np.sum((row - grand) ** 2)) for row in own + others)
    between = sum(
        len(group) * float(np.sum((np.mean(group, axis=0) - grand) ** 2)) for group in (own, others)
    )
    mean = np.mean([rows[i] for i in valid], axis=0)
    cosines = {
        i: float(np.dot(rows[i] - mean, vector) / np.linalg.norm(rows[i] - mean)) for i in valid
    }
    return vector, between / total, sorted(valid, key=lambda i: -cosines[i])[:nearest]


def concepts(rows, k):
    """Singular directions, and signs and distance along the diagonal of each row, by an SVD."""
    valid = [i for i, row in enumerate(rows) if np.isfinite(row).all() and np.any(row != 0)]
    centred = np.array([rows[i] for i in valid])
    centred = centred - centred.mean(0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    for j in range(k):
        size = np.abs(left[:, j])
        largest = min(i for i in range(len(valid)) if size[i] >= (1 - 1e-6) * max(size))
        if left[largest, j] < 0:
            left[:, j], right[j] = -left[:, j], -right[j]
    signs = {i: tuple(1 if u >= 0 else -1 for u in left[r, :k]) for r, i in enumerate(valid)}
    distance = {i: sum(abs(u) for u in left[r, :k]) for r, i in enumerate(valid)}
    # Neither two singular values that are nearly one, nor a sign that rounding may turn.
    apart = -np.diff(values, append=0) > 1e-3 * values
    return {
        "directions": right[:k],
        "values": values[:k],
        "explained": (values**2 / (values**2).sum())[:k],
        "signs": signs,
        "distance": distance,
        "certain": bool(apart[:k].all() and np.abs(left[:, :k]).min() > 1e-5),
    }


def linguistic_collapse(means, classifier):
    """Variance and mean of log(1 / distance) over pairs of unit means, of w . v over classes."""
    units, kept = unit_rows(means)
    kernel = [
        math.log(1 / math.dist(units[i], units[j]))
        for i, j in itertools.combinations(range(len(kept)), 2)
    ]
    cosines = []
    for i, unit in zip(kept, units, strict=True):
        row = np.asarray(classifier[i], dtype=np.float64)
        length = math.sqrt(float(np.dot(row, row)))
        if 0 < length < math.inf:
            cosines.append(float(np.dot(row, unit)) / length)
    figures = {"classes": len(kept)}
    for name, of, less in (("gnc2", kernel, 0), ("unc3", cosines, 1)):
        mean = mean_or_nan(of) if len(kept) > 1 and len(of) > less else math.nan
        figures[f"{name}_mean"] = mean
        squares = sum((one - mean) ** 2 for one in of)
        figures[name] = math.nan if math.isnan(mean) else squares / (len(of) - less)
    return figures


def cosine_third_moment(rows, counts=None, share=0.7):
    """Mean of (cosine - mean cosine)^3 over pairs of the most frequent rows."""
    chosen = range(len(rows))
    if counts is not None:
        order = sorted(chosen, key=lambda i: -counts[i])
        reached, last = 0.0, math.inf
        for i in order:
            if reached >= share * sum(counts) * (1 - 1e-12):
                break
            reached, last = reached + counts[i], counts[i]
        chosen = [i for i in chosen if counts[i] >= last and counts[i] > 0]
    units, kept = unit_rows(np.asarray(rows)[list(chosen)])
    if len(kept) < 3:
        return math.nan
    cosines = [
        float(np.dot(units[i], units[j])) for i, j in itertools.combinations(range(len(kept)), 2)
    ]
    mean = sum(cosines) / len(cosines)
    return sum((cosine - mean) ** 3 for cosine in cosines) / len(cosines)


def eigenspectrum(rows):
    """RankMe and the exponent of the power law, from the singular values of the centred rows."""
    valid = np.array([row for row in rows if np.isfinite(row).all() and np.any(row != 0)])
    nothing = {"rankme": math.nan, "alpha_req": math.nan}
    if len(valid) < 2:
        return nothing
    values = np.linalg.svd(valid - valid.mean(0), compute_uv=False) ** 2
    if values[0] < 1e-24 * float(np.sum(valid**2)):
        return nothing
    entropy = 0.0
    for value in values:
        share = value / values.sum() + 1e-7
        entropy -= share * math.log(share)
    points = []
    for rank in range(12, 101):
        value = values[rank - 1] if rank <= len(values) else 0.0
        if value < 1e-12 * values[0]:
            return {"rankme": math.exp(entropy), "alpha_req": math.nan}
        points.append((math.log(rank), math.log(value), 1 / rank))
    weight = sum(w for _, _, w in points)
    x_mean = sum(w * x for x, _, w in points) / weight
    y_mean = sum(w * y for _, y, w in points) / weight
    slope = sum(w * (x - x_mean) * (y - y_mean) for x, y, w in points)
    slope /= sum(w * (x - x_mean) ** 2 for x, _, w in points)
    return {"rankme": math.exp(entropy), "alpha_req": -slope}


def causal_inner_products(rows):
    """(x_i - mean)^T pinv(covariance) (x_j - mean) of all pairs; 0 for rows that do not count."""
    valid = [i for i, row in enumerate(rows) if np.isfinite(row).all() and np.any(row != 0)]
    found = np.zeros((len(rows), len(rows)))
    if not valid:
        return found
    mean = np.mean([rows[i] for i in valid], axis=0)
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    for i in valid:
        covariance += np.outer(rows[i] - mean, rows[i] - mean) / len(valid)
    inverse = np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
    for i, j in itertools.product(valid, valid):
        found[i, j] = float((rows[i] - mean) @ inverse @ (rows[j] - mean))
    return found


def support_matrix(windows, vocab_size, contexts):
    """Which token follows which context, pair by pair; and the contexts of the columns."""
    pairs = {}
    for window in windows:
        for place, token in enumerate(window):
            if contexts == "tokens":
                before = [(other,) for other in window[:place]]
            else:
                before = [tuple(window[place - contexts : place])] if place >= contexts else []
            for context in before:
                pairs[token, context] = pairs.get((token, context), 0) + 1
    columns = sorted({context for _, context in pairs})
    counts = np.zeros((vocab_size, len(columns)), dtype=int)
    for (token, context), times in pairs.items():
        counts[token, columns.index(context)] = times
    return counts, columns


def predicted_order(codes, counts):
    """Strength, by chance, shares along all directions, and sigma: by an SVD and projections."""
    support = (counts > 0).astype(float)
    left, values, _ = np.linalg.svd(support - support.mean(0), full_matrices=False)
    rows = [i for i in range(len(codes)) if codes[i] >= 0 and support[i].any()]
    n, found = len(rows), sorted({codes[i] for i in rows})
    if len(found) < 2:
        return math.nan, math.nan, np.full(len(values), math.nan), values
    indicators = np.zeros((len(support), len(found)))
    for i in rows:
        indicators[i, found.index(codes[i])] = 1
    indicators[rows] -= indicators[rows].mean(0)
    axes, sizes, _ = np.linalg.svd(indicators, full_matrices=False)
    axes = axes[:, sizes > 1e-9]
    shares = [np.square(axes.T @ u).sum() / axes.shape[1] for u in left.T]
    # Over all directions, those of sigma 0 too, which add nothing.
    strength = math.sqrt(sum(share * value**2 for share, value in zip(shares, values, strict=True)))
    among = support[rows] - support[rows].mean(0)
    return strength, math.sqrt(np.square(among).sum() / (n - 1)), np.array(shares), values
