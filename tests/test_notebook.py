"""Training and translation in a notebook."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from transmute.notebook import card

CELLS = [
    """
import transmute
from transmute.config.methods import CycleGANConfig
from transmute.config.networks import ResNetConfig
tiny = CycleGANConfig(generator=ResNetConfig(width=2, blocks=1))
run = transmute.train(
    "DATA", method=tiny, run="RUN", size=32, steps=3, device="cpu", report_every=1, sample_every=2
)
""",
    "run",
    'translate = transmute.Translator("RUN")\ntranslate',
    'translate("DATA/testA/0000.png")',
    """
import os, signal, threading
def stop():
    while not run2.metrics():
        pass
    os.kill(os.getpid(), signal.SIGINT)
run2 = transmute.run.Run(run.folder.with_name("interrupted"))
threading.Thread(target=stop).start()
try:
    transmute.train("DATA", method=tiny, run=run2.folder, size=32, steps=9999, device="cpu",
                    report_every=1)
except KeyboardInterrupt:
    print("interrupted after", len(run2.checkpoints()), "checkpoint")
""",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*encoding:EncodingWarning")  # of nbclient
@pytest.mark.skipif(sys.platform == "win32", reason="Windows interrupts kernels in another way")
def test_a_notebook_shows_one_line_of_progress_samples_and_cards(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cells = [
        cell.replace("DATA", str(animals)).replace("RUN", str(tmp_path / "run")) for cell in CELLS
    ]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    client = nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3")
    client.execute()
    training, run, translator, image, interrupted = (cell.outputs for cell in notebook.cells)
    (progress,) = [output for output in training if output.output_type == "display_data"]
    assert progress.data["text/plain"].startswith("step 3/3  ")
    assert progress.data["text/html"].count("data:image/jpeg") == 1
    printed = "".join(output.text for output in training if output.output_type == "stream")
    assert "finished: open" in printed
    assert "\x1b" not in printed
    assert "step 3/3" not in printed
    shown = run[0].data["text/html"]
    assert f"run {tmp_path / 'run'}" in shown
    assert ">cycle_a<" in shown
    assert len(shown) < 200_000
    assert "translator from plain to striped" in translator[0].data["text/html"]
    assert "image/png" in image[0].data
    assert "interrupted after 1 checkpoint" in "".join(one.get("text", "") for one in interrupted)


def test_a_card_escapes_names_and_omits_a_damaged_sheet(tmp_path: Path) -> None:
    sheet = tmp_path / "1.png"
    sheet.write_bytes(b"no image")
    shown = card("<script>", {"a&b": "\x1b<i>", "none": None}, sheet)
    assert shown == (
        "<b>&lt;script&gt;</b><table><tr><th style='text-align:left'>a&amp;b</th>"
        "<td style='text-align:left'>\\x1b&lt;i&gt;</td></tr></table>"
    )
    Image.new("RGB", (2000, 100)).save(sheet)
    assert "<img src='data:image/jpeg;base64," in card("run", {}, sheet)
