"""``python -m benchmarks.examples``: ask the running backend one example of each kind of model, and draw the answers.

Needs a stack that was started with `make up`, and the items of `torchqueue items add fashion-similar samples --catalog
shop`. Writes `docs/examples.png`.
"""

import io
from pathlib import Path

import click
import httpx
from PIL import Image, ImageDraw, ImageFont

from stack.client import ApiClient
from stack.state import ADMIN_KEY_FILE, read_state

SAMPLES = Path(__file__).parent.parent / "samples"
OUT = Path(__file__).parent.parent / "docs" / "examples.png"

PANEL = (600, 300)
MARGIN = 16
INK, BAR, PAPER = "#222222", "#4363d8", "#ffffff"
TITLE, TEXT = ImageFont.load_default(20), ImageFont.load_default(16)


@click.command()
@click.option("--var", "var_dir", type=click.Path(path_type=Path), default=Path("var"), show_default=True)
def main(var_dir: Path) -> None:
    """Draw what each kind of model answers."""
    with ApiClient(var_dir) as client:
        panels = [
            _draw_classification(client),
            _draw_regression(client),
            _draw_similarity(client, var_dir),
            _draw_segmentation(client, var_dir),
        ]
    sheet = Image.new("RGB", (2 * PANEL[0], 2 * PANEL[1]), PAPER)
    for index, panel in enumerate(panels):
        sheet.paste(panel, (index % 2 * PANEL[0], index // 2 * PANEL[1]))
    sheet.save(OUT, optimize=True)
    click.echo(f"written to {OUT}")


def _draw_classification(client: ApiClient) -> Image.Image:
    file = SAMPLES / "sandal-02.jpg"
    panel, draw = _panel("fashion: which garment?")
    _paste(panel, Image.open(file), (MARGIN, 50, 250, 230))
    for row, (label, score) in enumerate(client.predict("fashion", file)["result"]["top"]):
        top = 60 + 42 * row
        draw.rectangle((290, top, 290 + round(280 * score), top + 20), fill=BAR)
        draw.text((290, top + 20), f"{label} {score:.1%}", INK, TEXT)
    return panel


def _draw_regression(client: ApiClient) -> Image.Image:
    result = client.predict("diamond-price", SAMPLES / "diamond.json")["result"]
    panel, draw = _panel("diamond-price: how much?")
    least, most = 0.8 * result["low"], 1.1 * result["high"]
    x = {name: 30 + round(540 * (result[name] - least) / (most - least)) for name in ("low", "value", "high")}
    draw.line((30, 160, 570, 160), INK, 2)
    draw.rectangle((x["low"], 145, x["high"], 175), fill=BAR)
    draw.line((x["value"], 135, x["value"], 185), INK, 4)
    for name, top in (("low", 185), ("value", 105), ("high", 185)):
        draw.text((x[name], top), f"{result[name]:,.0f} {result['unit']}", INK, TEXT, anchor="ma")
    draw.text((30, 250), f"{result['interval']:.0%} of all prices lie within such an interval", INK, TEXT)
    return panel


def _draw_similarity(client: ApiClient, var_dir: Path) -> Image.Image:
    file = SAMPLES / "sandal-01.png"
    panel, draw = _panel("fashion-similar: which of my items look like this?")
    _paste(panel, Image.open(file), (MARGIN, 60, 120, 120))
    draw.text((MARGIN, 190), "asked", INK, TEXT)
    for place, item in enumerate(client.predict("fashion-similar", file)["result"]["items"][:4]):
        left = 170 + 106 * place
        _paste(panel, _fetch_picture(var_dir, item["photo_url"]), (left, 70, 96, 100))
        draw.text((left, 190), f"{item['external_id'][:11]}\nat {item['distance']:.2f}", INK, TEXT)
    return panel


def _draw_segmentation(client: ApiClient, var_dir: Path) -> Image.Image:
    file = SAMPLES / "scene-01.jpg"
    result = client.predict("garments", file)["result"]
    panel, draw = _panel("garments: what lies where?")
    scene = Image.open(file).convert("RGB")
    mask = _fetch_picture(var_dir, result["mask"]["url"]).resize(scene.size, Image.Resampling.NEAREST)
    shown = Image.blend(scene, mask, 0.45)
    frames = ImageDraw.Draw(shown)
    for found in result["classes"]:
        for box in found["boxes"]:
            frames.rectangle(box, outline=PAPER, width=4)
    _paste(panel, scene, (MARGIN, 50, 276, 200))
    _paste(panel, shown, (308, 50, 276, 200))
    draw.text((MARGIN, 262), ", ".join(f"{each['label']} {each['area']:.0%}" for each in result["classes"]), INK, TEXT)
    return panel


def _panel(title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    panel = Image.new("RGB", PANEL, PAPER)
    draw = ImageDraw.Draw(panel)
    draw.text((MARGIN, 12), title, INK, TITLE)
    return panel, draw


def _paste(panel: Image.Image, picture: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Fit a picture into left, top, width, height."""
    left, top, width, height = box
    scale = min(width / picture.width, height / picture.height)
    fitted = picture.convert("RGB").resize((round(picture.width * scale), round(picture.height * scale)))
    panel.paste(fitted, (left, top))


def _fetch_picture(var_dir: Path, path: str) -> Image.Image:
    key = (var_dir / ADMIN_KEY_FILE).read_text().strip()
    response = httpx.get(read_state(var_dir).url + path, headers={"Authorization": f"Bearer {key}"}, timeout=30)
    response.raise_for_status()
    with Image.open(io.BytesIO(response.content)) as picture:
        return picture.convert("RGB")


if __name__ == "__main__":
    main()
