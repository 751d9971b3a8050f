"""The losses of fine-tuning, against numbers worked out by hand and against torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from features.errors import InputError
from models.base import Target
from models.losses import LossParams, binary, cross_entropy, objective, pick, positive_weights

TWO = Target("binary", ("no", "yes"))
THREE = Target("multiclass", ("a", "b", "c"))
LABELS = Target("multilabel", ("a", "b"))

# softmax gives 1/4 and 3/4
QUARTERS = torch.log(torch.tensor([[1.0, 3.0]]))
# a sigmoid gives 3/4 for the first label and 1/4 for the second
LOGITS = torch.log(torch.tensor([[3.0, 1 / 3]]))


def random(rows: int, k: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=(rows, k)) * 3)


def value(found: torch.Tensor) -> float:
    assert found.shape == (1,)
    return float(found[0])


def test_cross_entropy_is_the_log_of_the_true_class() -> None:
    found = cross_entropy(QUARTERS.repeat(2, 1), torch.tensor([1, 0]))
    assert found.tolist() == pytest.approx([-np.log(0.75), -np.log(0.25)])


def test_focal_loss_weighs_a_row_by_what_it_lacks_to_one() -> None:
    right = cross_entropy(QUARTERS, torch.tensor([1]), gamma=2)
    wrong = cross_entropy(QUARTERS, torch.tensor([0]), gamma=2)
    assert value(right) == pytest.approx(0.25**2 * -np.log(0.75))
    assert value(wrong) == pytest.approx(0.75**2 * -np.log(0.25))


def test_the_lack_is_the_sum_of_all_other_classes() -> None:
    out = torch.log(torch.tensor([[1.0, 2.0, 5.0]]))
    found = cross_entropy(out, torch.tensor([1]), gamma=1)
    assert value(found) == pytest.approx((1 / 8 + 5 / 8) * -np.log(2 / 8))


def test_class_weights_multiply_the_loss_of_their_rows() -> None:
    found = cross_entropy(QUARTERS.repeat(2, 1), torch.tensor([1, 0]), weights=np.array([3.0, 0.5]))
    assert found.tolist() == pytest.approx([0.5 * -np.log(0.75), 3 * -np.log(0.25)])


def test_binary_losses_are_means_over_the_labels_of_a_row() -> None:
    found = binary(LOGITS, torch.tensor([[1, 0]]))
    assert value(found) == pytest.approx(-np.log(0.75))
    found = binary(LOGITS, torch.tensor([[0, 0]]))
    assert value(found) == pytest.approx((-np.log(0.25) - np.log(0.75)) / 2)


def test_positive_and_negative_gammas_are_apart() -> None:
    truth = torch.tensor([[1, 0]])
    found = binary(LOGITS, truth, gamma_pos=1)
    assert value(found) == pytest.approx((0.25 * -np.log(0.75) - np.log(0.75)) / 2)
    found = binary(LOGITS, truth, gamma_neg=3)
    assert value(found) == pytest.approx((-np.log(0.75) + 0.25**3 * -np.log(0.75)) / 2)


def test_clip_shifts_negatives_down_and_forgives_the_easy_ones() -> None:
    # p = 3/4 becomes 1/2, p = 1/4 becomes 0
    found = binary(LOGITS, torch.tensor([[0, 0]]), gamma_neg=2, clip=0.25)
    assert value(found) == pytest.approx((0.5**2 * -np.log(0.5) + 0) / 2)
    assert value(binary(LOGITS, torch.tensor([[1, 1]]), clip=0.25)) == pytest.approx(
        (-np.log(0.75) - np.log(0.25)) / 2
    )


def test_weights_are_of_positives_only() -> None:
    weights = np.array([2.0, 10.0])
    found = binary(LOGITS, torch.tensor([[1, 0]]), weights=weights)
    assert value(found) == pytest.approx((2 * -np.log(0.75) - np.log(0.75)) / 2)


def test_without_gamma_and_clip_they_are_torchs_cross_entropies() -> None:
    out, classes = random(20, 3), torch.arange(20) % 3
    expected = functional.cross_entropy(out, classes, reduction="none")
    torch.testing.assert_close(cross_entropy(out, classes), expected)
    labels = (random(20, 3) > 0).long()
    expected = functional.binary_cross_entropy_with_logits(out, labels.double(), reduction="none")
    torch.testing.assert_close(binary(out, labels), expected.mean(dim=1))


def test_weights_are_those_of_torch() -> None:
    out, labels, weights = random(20, 3), (random(20, 3) < 1).long(), [0.5, 1.0, 4.0]
    expected = functional.binary_cross_entropy_with_logits(
        out, labels.double(), pos_weight=torch.tensor(weights).double(), reduction="none"
    )
    torch.testing.assert_close(binary(out, labels, weights=np.array(weights)), expected.mean(dim=1))


def test_two_classes_and_one_label_have_the_same_focal_loss() -> None:
    out, truth = random(20, 1), torch.arange(20) % 2
    two = torch.cat([torch.zeros_like(out), out], dim=1)
    focal = binary(out, truth[:, None], gamma_neg=1.5, gamma_pos=1.5)
    torch.testing.assert_close(cross_entropy(two, truth, gamma=1.5), focal)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_extreme_outputs_have_finite_losses_and_slopes(gamma: float, clip: float) -> None:
    out = torch.tensor([[-200.0, 0.0, 200.0], [200.0, 5.0, -200.0]], requires_grad=True)
    options: dict[str, Any] = {"gamma_neg": gamma, "gamma_pos": gamma, "clip": clip}
    total = sum(
        loss.sum()
        for loss in (
            cross_entropy(out, torch.tensor([2, 2]), gamma=gamma),
            binary(out, torch.tensor([[0, 1, 1], [0, 0, 1]]), **options),
        )
    )
    assert isinstance(total, torch.Tensor)
    torch.autograd.backward(total)
    assert bool(torch.isfinite(total))
    assert out.grad is not None
    assert bool(torch.isfinite(out.grad).all())


def test_a_surely_right_row_has_no_slope_and_a_surely_wrong_one_has() -> None:
    out = torch.tensor([[50.0, 0.0], [50.0, 0.0]], requires_grad=True)
    torch.autograd.backward(cross_entropy(out, torch.tensor([0, 1]), gamma=2).sum())
    assert out.grad is not None
    assert out.grad[0].abs().max() < 1e-12
    assert out.grad[1].tolist() == pytest.approx([1, -1])


def test_auto_is_the_likelihood_of_the_kind_of_target() -> None:
    assert pick("auto", "binary") == pick("auto", "multiclass") == "cross_entropy"
    assert pick("auto", "multilabel") == "bce"


@pytest.mark.parametrize(
    ("loss", "kind", "text"),
    [
        ("asymmetric", "binary", "loss asymmetric for a binary target; expected cross_entropy or"),
        ("bce", "multiclass", "set loss: cross_entropy"),
        ("cross_entropy", "multilabel", "expected bce or focal or asymmetric; set loss: bce"),
    ],
)
def test_a_loss_for_another_kind_of_target_is_refused(loss: str, kind: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        pick(loss, kind)


def test_parameters_reach_the_loss() -> None:
    y = np.array([[1, 0], [0, 0], [0, 0], [0, 1]])
    truth = torch.tensor([[0, 1]])

    def found(**params: Any) -> float:
        return value(objective(LossParams(**params), LABELS, y)(LOGITS, truth))

    wrong = -np.log(0.25)  # p = 3/4 for what is not, 1/4 for what is
    assert found() == pytest.approx(wrong)
    assert found(loss="focal", gamma=1) == pytest.approx(0.75 * wrong)
    # by default gamma_pos 0, gamma_neg 4 and clip .05
    expected = (0.7**4 * -np.log(0.3) + wrong) / 2
    assert found(loss="asymmetric") == pytest.approx(expected)
    # each label has one positive of four rows
    assert found(class_weight="balanced") == pytest.approx((wrong + 3 * wrong) / 2)


def test_balanced_classes_weigh_the_same() -> None:
    y = np.array([0, 0, 0, 2])
    loss = objective(LossParams(class_weight="balanced"), THREE, y)
    rows = loss(torch.zeros(4, 3), torch.tensor(y))
    assert rows.tolist() == pytest.approx([2 / 3 * np.log(3)] * 3 + [2 * np.log(3)])
    focal = objective(LossParams(loss="focal", gamma=2), TWO, np.array([0, 1]))
    assert value(focal(QUARTERS, torch.tensor([1]))) == pytest.approx(0.0625 * -np.log(0.75))


def test_weights_of_labels_are_bounded() -> None:
    y = np.zeros((100, 4), dtype=np.int64)
    y[:20, 0], y[:1, 1], y[:, 2] = 1, 1, 1
    assert positive_weights(y).tolist() == [4, 20, 1 / 20, 20]
