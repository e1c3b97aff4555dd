"""Trains a perceptron to find points above a line and logs to W&B: an example of a user's job made from code."""

import random

import wandb


def main() -> None:
    """Train for the number of epochs in the run's config."""
    dice = random.Random(0)  # noqa: S311 - points, not secrets
    points = [(1.0, dice.uniform(-1, 1), dice.uniform(-1, 1)) for _ in range(500)]
    above = [1 if y > 0.3 + 0.5 * x else -1 for _, x, y in points]
    weights = [0.0, 0.0, 0.0]
    with wandb.init(config={"epochs": 5}) as run:
        for epoch in range(run.config.epochs):
            for point, answer in zip(points, above, strict=True):
                if _guess(weights, point) != answer:
                    weights = [weight + answer * part for weight, part in zip(weights, point, strict=True)]
            right = sum(_guess(weights, point) == answer for point, answer in zip(points, above, strict=True))
            run.log({"epoch": epoch, "accuracy": right / len(points)})


def _guess(weights: list[float], point: tuple[float, ...]) -> int:
    return 1 if sum(weight * part for weight, part in zip(weights, point, strict=True)) > 0 else -1


if __name__ == "__main__":
    main()
