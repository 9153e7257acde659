from pathlib import Path

from PIL import Image

from lib_lora_train.host.base import Generated, GenerateRequest
from lib_lora_train.preview.grid import compose, draw_grid

LORAS = [Path("ada-000002.safetensors"), Path("ada.safetensors")]


class FlatSession:
    """Draws each cell in a colour made from its file and weight, so that its place in the grid can be checked."""

    def __init__(self, cancelled=()):
        self.requests = []
        self.cancelled = cancelled

    def generate(self, requests):
        self.requests = list(requests)
        return [
            Generated(Image.new("RGB", (64, 48), colour(request.lora, request.weight)), "", request)
            for number, request in enumerate(requests)
            if number not in self.cancelled
        ]


def colour(lora: Path, weight: float) -> tuple[int, int, int]:
    return (int(weight * 100), 50 + 100 * LORAS.index(lora), 200)


def test_checkpoints_across_weights_down_all_else_equal():
    session = FlatSession()
    base = GenerateRequest(prompt="1girl", seed=5, width=64, height=48)
    sheet = draw_grid(session, base, LORAS, [0.0, 0.5, 1.0])
    assert {(request.prompt, request.seed) for request in session.requests} == {("1girl", 5)}
    cells = [(lora, weight) for weight in (0.0, 0.5, 1.0) for lora in LORAS]
    found = {pixel for _, pixel in sheet.getcolors(maxcolors=100000)}
    assert {colour(*cell) for cell in cells} <= found
    x, y = sheet.width - 10, sheet.height - 10
    assert sheet.getpixel((x, y)) == colour(LORAS[1], 1.0)
    assert sheet.getpixel((x - 70, y)) == colour(LORAS[0], 1.0)
    assert sheet.getpixel((x, y - 54)) == colour(LORAS[1], 0.5)


def test_a_cancelled_picture_leaves_its_cell_empty():
    base = GenerateRequest(prompt="1girl", seed=5, width=64, height=48)
    whole = draw_grid(FlatSession(), base, LORAS, [0.0, 0.5, 1.0])
    sheet = draw_grid(FlatSession(cancelled=[0, 3]), base, LORAS, [0.0, 0.5, 1.0])
    x, y = sheet.width - 10, sheet.height - 10
    paper = sheet.getpixel((0, 0))
    assert sheet.size == whole.size
    assert [sheet.getpixel((x - 70, y - 54 * up)) for up in (2, 1, 0)] == [
        paper, colour(LORAS[0], 0.5), colour(LORAS[0], 1.0)
    ]  # fmt: skip
    assert [sheet.getpixel((x, y - 54 * up)) for up in (2, 1, 0)] == [
        colour(LORAS[1], 0.0), paper, colour(LORAS[1], 1.0)
    ]  # fmt: skip
    assert draw_grid(FlatSession(cancelled=range(6)), base, LORAS, [0.0, 0.5, 1.0]).getcolors() is not None


def test_labels_are_drawn_and_long_ones_keep_their_end():
    cell = Image.new("RGB", (64, 48), (200, 0, 0))
    plain = compose([[cell]], [""], [""])
    assert compose([[cell]], ["x" * 60 + "-000002"], ["weight 1"]).height == plain.height
    inked = compose([[cell]], ["000002"], [""])
    assert inked.tobytes() != plain.tobytes() and inked.size == plain.size
