"""Train a network: python train.py --config shapes_unet.yaml."""

from seg.cli import main

if __name__ == "__main__":
    main(default="fit")
