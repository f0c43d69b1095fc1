"""Wrong values of every flag of every command, wrong YAML, and other tools' command lines."""

from __future__ import annotations

import pkgutil
import signal
from itertools import pairwise
from pathlib import Path
from random import Random

from tests.campaigns.damage import RAW, damaged_bytes
from tests.campaigns.materials import NETWORKS, SMALL, Materials
from tests.campaigns.runner import Campaign, Case, Result, call, checked

WORDS = [
    *("", " ", "-1", "0", "-0", "1", "1e999", "-inf", "nan", "0x10", "1_0", "1.5", "٣", "True"),
    *(str(10**30), "9" * 5000, "a" * 300, "a" * 5000, "\x1b[31mred", "a\nb", "\u202egnp", "\udcff"),
    *("missing", "missing/x", "data", "data/testA/0000.png", "run/recipe.json", "pth", "null"),
    *("zero", "memory", "loop", ".", "..", "../../x", "~", "None", "none", "auto", "[]", "{}"),
    *("*", "[", "%s", "{0}", "--", "-", "a,b", "1:2", "2:1", "1x2x3", "0x0", "-5x5", "99999x99999"),
    *("5000x5000", "99999999", "code.py:thing", "code.py:Missing", "code.py", "missing.py:x", ":"),
    *("broken.py:x", "os:system", "cuda:99", "cuda", "meta", "cpu:1", "http://127.0.0.1:9/a.zip"),
    *("file:///etc/passwd", "resnet", "unet", "https://[", "data\0x", "text.txt", "empty.txt", "."),
]
ONE_STEP = (
    *("data", "--run", "new", *NETWORKS, *SMALL, "--batch", "2", "--steps", "1"),
    *("--metrics.features", "texture"),
)
MODEL = ("--model", "run", "--device", "cpu")
VALID: dict[str, tuple[str, ...]] = {
    "data check": ("data",),
    "data combine": ("data/testA", "data/testB", "--out", "out"),
    "data split": ("bare", "--out", "out"),
    "data resize": ("data", "--size", "8", "--out", "out"),
    "data pull": (),
    "train": ONE_STEP,
    "translate": ("data/testA", *MODEL, "--out", "out"),
    "evaluate": ("--model", "run", "--data", "data", "--features", "texture", "--device", "cpu"),
    "report": ("run",),
    "watch": ("run", "--port", "0"),
    "bench": (*NETWORKS, *SMALL, "--batch", "2", "--steps", "1", "--repeats", "1"),
    "doctor": ("run",),
    "recipes": (),
    "import": ("pth", "--out", "out"),
    "export": ("run", "--out", "out"),
    "pull": (),
}
"""A quick valid command line of each command but the demo, which takes long."""
TRAIN_PY = (
    *("--dataroot", "data", "--name", "new", "--gpu_ids", "-1", "--ngf", "2", "--ndf", "2"),
    *("--n_epochs", "1", "--n_epochs_decay", "0", "--load_size", "16", "--crop_size", "16"),
    *("--netG", "resnet_6blocks", "--netD", "n_layers", "--n_layers_D", "1", "--display_id", "-1"),
    *("--max_dataset_size", "2"),
)
TEST_PY = (
    *("--dataroot", "data/testA", "--name", "pth", "--checkpoints_dir", ".", "--model", "test"),
    *("--no_dropout", "--gpu_ids", "-1", "--ngf", "2", "--netG", "resnet_6blocks"),
)
LONG = ("epochs", "steps", "repeats", "images", "blocks", "width", "accumulate")
"""Settings of which large values are only slow."""
YAML = {
    "bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{n}: &{n} [{','.join([f'*{m}'] * 9)}]\n" for m, n in pairwise("abcdefghi")),
    "deep": "[" * 50_000,
    "deep map": "{a: " * 5_000,
    "deep lines": "".join(f"{' ' * n}a:\n" for n in range(1000)),
    "object": "size: !!python/object/apply:os.system ['touch left']\n",
    "name": "size: !!python/name:os.system\n",
    "int": "batch: !!int x\n",
    "float": "batch: !!float x\n",
    "binary": "size: !!binary x===\n",
    "timestamp": "size: !!timestamp x\n",
    "date": "size: 2001-99-99\n",
    "time": "size: 2001-12-14t21:59:43.10-99:99\n",
    "base 60": "batch: 190:20:30\n",
    "digits": f"batch: {'9' * 6000}\n",
    "octal": "batch: 0o777\n",
    "merge": "<<: 1\n",
    "merge list": "<<: [1, 2]\n",
    "self": "a: &a\n  b: *a\n",
    "unknown alias": "size: *none\n",
    "complex key": "? [1, 2]\n: 3\n",
    "object key": "? {a: b}\n: 3\n",
    "number key": "1: 2\n",
    "null key": "~: 2\n",
    "bool key": "true: 2\n",
    "twice": "size: 16\nsize: 32\n",
    "list": "- 1\n- 2\n",
    "text": "just text\n",
    "number": "1\n",
    "null": "~\n",
    "empty": "",
    "two": "a: 1\n---\nb: 2\n",
    "tab": "\tsize: 16\n",
    "control": "size: \x01\n",
    "escape": 'size: "\\e[31m"\n',
    "reversed": '"\u202esize": 16\n',
    "bom": "\ufeffsize: 16\n",
    "set": "size: !!set {a, b}\n",
    "omap": "size: !!omap [a: 1]\n",
    "tag": "!unknown {size: 16}\n",
    "anchor": f"size: &{'a' * 5000} 16\n",
    "long": f"size: {'a' * 1_000_000}\n",
    "many": "".join(f"k{n}: 1\n" for n in range(20_000)),
    "infinity": "optimizer: {lr: .inf}\n",
    "nan": "optimizer: {lr: .nan}\n",
    "bool": "batch: true\n",
    "JSON": RAW["@deep list@"],
}
YAML_VALUES = [
    "~",
    "true",
    "[]",
    "{}",
    "-1",
    "1e400",
    ".nan",
    "2001-01-01",
    "'x'",
    "[1, 2]",
    "{a: b}",
]
CODE = "thing = 3\n\ndef f(path):\n    raise ValueError('no \\x1b[31m')\n"
LINKS = {"null": "/dev/null", "zero": "/dev/zero", "memory": "/proc/self/mem", "loop": "loop"}
"""Links, so that writing to one replaces it and not the device."""
FILES = {
    "code.py": CODE,
    "broken.py": "def (:\n",
    "text.txt": "text\n",
    "empty.txt": "",
}


def campaign(materials: Materials) -> Campaign:
    """Wrong flags."""
    all_flags = _all_flags()

    def case(random: Random, number: int) -> tuple[str, Case]:
        what = random.random()
        document = ""
        if what < 0.2:
            document, title = _document(random)
            words = ["transmute", "train", *ONE_STEP, "--config", "settings.yaml"]
            if random.random() < 0.3:
                words = ["transmute", "bench", *VALID["bench"], "--config", "settings.yaml"]
        elif what < 0.35:
            words, title = _other_tool(random), "another tool"
        else:
            name, flag = random.choice(all_flags)
            words, title = _with_flag(random, name, flag), f"{name} {flag.name}"
        words = [word.replace("\0", "") for word in words]  # no command line contains it

        def run(folder: Path) -> Result:
            materials.copy(folder, "data", "bare", "run", "pth")
            for name, target in LINKS.items():
                (folder / name).symlink_to(target)
            for name, text in {**FILES, "settings.yaml": document}.items():
                (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
            result = checked(
                folder,
                lambda: _call(words),
                allowed=("run/report.html", "new/.lock", "checkpoints/*/.lock"),
                statuses=(0, 1, 2, 130) if words[1] == "watch" else (0, 1, 2),
                limit=60,
            )
            is_empty = any(not word.rpartition("=")[2].strip() for word in words)
            # For other tools, an empty value is the default of some options.
            is_empty = is_empty and words[0] == "transmute" and "-h" not in words
            if is_empty and result.kind == "handled" and result.ended and not result.ended.status:
                return Result("tracebacks", "accepts an empty value", result.ended)
            return result

        return f"{title}: {' '.join(words[1:])[-150:]}", run

    return Campaign("flags", 900, 16, case)


def _call(words: list[str]) -> None:
    if words[1] == "watch":  # serves until it is interrupted
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.7)
    call(words)


def _all_flags():
    """All flags, with the commands that have them."""
    from transmute.cli import COMMANDS
    from transmute.cli.parsing import flags_of
    from transmute.cli.runs import CHOOSING, RecipeCommand

    found = []
    for name in VALID:
        command = pkgutil.resolve_name(COMMANDS[name])
        is_recipe = issubclass(command, RecipeCommand)
        settings = command() if is_recipe else command.model_construct()
        found += [(name, flag) for flag in flags_of(settings)]
        found += [(name, flag) for flag in CHOOSING] * is_recipe
    return found


def _with_flag(random: Random, name: str, flag) -> list[str]:
    """A command line with a wrong value of a flag."""
    words = ["transmute", *name.split()]
    value = random.choice(WORDS)
    if any(flag.setting.endswith(one) for one in LONG) and value.strip().isdecimal():
        value = random.choice(["0", "-1", "", "x", "1.5", "9" * 5000])
    if flag.positional:
        rest = list(VALID[name])
        place = 1 if flag.setting == "b" else 0
        has_it = len(rest) > place and not rest[place].startswith("-")
        rest[place : place + has_it] = [value]
        return [*words, *rest]
    if isinstance(flag.value, bool):
        return [*words, *VALID[name], random.choice([flag.name, f"{flag.name}={value}"])]
    written = random.choice([[flag.name, value], [f"{flag.name}={value}"], [flag.name]])
    extra = []
    if random.random() < 0.15:  # values of different flags together
        extra = [random.choice(["--size", "--out", "--json", "--x", "-h", value])]
    return [*words, *VALID[name], *written, *extra]


def _document(random: Random) -> tuple[str, str]:
    """A wrong YAML document."""
    if random.random() < 0.5:
        kind = random.choice(list(YAML))
        return YAML[kind], f"YAML {kind}"
    from transmute.config.training import Recipe

    settings = Recipe().model_dump(mode="json")
    outer = random.choice(list(settings))
    inner = settings[outer]
    value = random.choice(YAML_VALUES)
    if isinstance(inner, dict) and random.random() < 0.7:
        key = random.choice([*inner, "x"])
        text = f"{outer}:\n  {key}: {value}\n"
    else:
        text = f"{outer}: {value}\n"
    if random.random() < 0.2:
        text = damaged_bytes(text.encode(), random).decode("utf-8", "surrogateescape")
    return text, f"YAML {text!r}"


def _other_tool(random: Random) -> list[str]:
    """A command line of train.py or test.py with a wrong value."""
    from transmute.interop.options import OPTIONS

    program, valid = random.choice([("transmute-train", TRAIN_PY), ("transmute-test", TEST_PY)])
    flags = [*OPTIONS, "no_such_flag", "netG", "norm", "dataset_mode", "gpu_ids", "epoch"]
    flag = random.choice(flags)
    value = random.choice(WORDS)
    if flag in ("n_epochs", "n_epochs_decay", "niter", "niter_decay", "ngf", "ndf"):
        value = random.choice(["", "-1", "x", "1.5", "nan"])
    return [program, *valid, f"--{flag}", *random.choice([[value], [value], []])]
