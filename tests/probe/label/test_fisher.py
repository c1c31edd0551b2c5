"""Products with factors of Fisher information are those of matrices written out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from oscine.probe.label.fisher import Factors, binary, exact, one_class, pooled, top_classes

EXACT = {"rtol": 0, "atol": 1e-9}
SIGNS = [exact, partial(top_classes, top=2), binary, pooled]


@pytest.mark.parametrize("signs", SIGNS)
def test_products_with_factors_are_those_of_matrices_written_out(signs, generator):
    p, rows = generator.dirichlet(np.ones(3), 5), generator.normal(size=(5, 4))
    factors = Factors(signs(p), rows)
    matrices = [(sign[:, :, None] * row).reshape(len(sign), -1) for sign, row in zip(factors.signs, rows)]
    vectors = generator.normal(size=(factors.dim, 2))
    matrix = generator.normal(size=(factors.dim, factors.dim))
    np.testing.assert_allclose(factors.times(vectors), [v @ vectors for v in matrices], **EXACT)
    np.testing.assert_allclose(factors.inside(matrix), [v @ matrix @ v.T for v in matrices], **EXACT)
    np.testing.assert_allclose(factors.information(), sum(v.T @ v for v in matrices), **EXACT)


def test_the_exact_information_is_that_of_the_softmax(generator):
    """The Fisher information of a softmax is (diag p - p p^T) (x) phi phi^T; that of one class more or less is binary."""
    p, phi = generator.dirichlet(np.ones(3)), generator.normal(size=4)
    expected = np.kron(np.diag(p) - np.outer(p, p), np.outer(phi, phi))
    np.testing.assert_allclose(Factors(exact(p[None]), phi[None]).information(), expected, **EXACT)
    np.testing.assert_allclose(
        Factors(top_classes(p[None], 3), phi[None]).information(), expected, **EXACT
    )  # all classes are the likeliest
    weight = p.max() * (1 - p.max())
    np.testing.assert_allclose(Factors(binary(p[None]), phi[None]).information(), weight * np.outer(phi, phi), **EXACT)
    np.testing.assert_allclose(one_class(p)[:, 0, 0] ** 2, p * (1 - p), **EXACT)
