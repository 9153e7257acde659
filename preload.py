"""Command line arguments of the WebUI that belong to this extension. Runs before torch: argparse alone."""

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lora-train-dir", type=str, default=None, help="folder of the LoRA training projects")
    parser.add_argument(
        "--lora-train-open-rest",
        action="store_true",
        help="programs that can reach the WebUI may change LoRA training projects without a login or an open page",
    )
