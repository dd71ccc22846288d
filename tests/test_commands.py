"""``fastreid-privacy``: its commands, their help, completion for shells, and the doors under tools/."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import SMALL_CONFIG

from fastreid_privacy.commands import anonymize, attack, retrieve
from fastreid_privacy.commands import main as program
from fastreid_privacy.commands.main import COMMANDS, SHELLS, main
from fastreid_privacy.commands.parsers import names_of, seeds
from fastreid_privacy.commands.parsers import words as words_of_list

TOOLS = Path(__file__).parents[1] / "tools"
TOOL_OF = {"train_net": "train", **{name.replace("-", "_"): name for name in COMMANDS}}


def leaves(words: list[str], capsys) -> tuple[object, str, str]:
    """The code with which argparse leaves, and what it printed and said."""
    with pytest.raises(SystemExit) as end:
        main(words)
    return end.value.code, *capsys.readouterr()


@pytest.fixture
def called_as(monkeypatch):
    return lambda *words: monkeypatch.setattr(sys, "argv", list(words))


def test_help_lists_every_command(capsys):
    code, printed, _ = leaves(["--help"], capsys)
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert code == 0 and all([name, command.summary] in lines for name, command in COMMANDS.items())


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_version(command, capsys):
    assert leaves([*filter(None, [command]), "--version"], capsys) == (0, "fastreid-privacy 0.1.0\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_examples_that_it_takes(command, capsys, called_as):
    called_as("/usr/bin/fastreid-privacy")
    code, printed, _ = leaves([command, "--help"], capsys)
    _, found, examples = printed.partition("example")
    start = f"fastreid-privacy {command} "
    lines = [line.strip() for line in examples.splitlines()[1:]]
    assert code == 0 and printed.startswith(f"usage: {start}") and found and lines
    for line in lines:
        assert line.startswith(start)
        COMMANDS[command].load().build_parser().parse_args(shlex.split(line.removeprefix(start)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "no command 'trian'; did you mean train?"),
        (["human_study"], "did you mean human-study?"),
        (["xyzzy"], "no command 'xyzzy'; fastreid-privacy --help lists the commands"),
        ([], "name a command; fastreid-privacy --help lists them"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_what_is_no_command(words, said, capsys):
    code, printed, error = leaves(words, capsys)
    assert code == 2 and said in error and not printed


def test_python_m_is_the_same_program(capsys, called_as):
    called_as("-m", "export", "--help")
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("fastreid_privacy", run_name="__main__", alter_sys=True)
    assert capsys.readouterr().out.startswith("usage: fastreid-privacy export ")


def test_a_mistake_is_said_in_the_name_that_was_called(capsys, called_as):
    for words, start in (
        (["/usr/bin/fastreid-privacy"], "fastreid-privacy"),
        ([f"{TOOLS}/retrieve.py"], "tools/retrieve.py"),
        (["/home/me/mine.py"], "mine.py"),
    ):
        called_as(*words)
        _, _, error = leaves(["retrieve", "build"], capsys)
        name = f"{start} retrieve" if start == "fastreid-privacy" else start
        assert f"{name} build: error: " in error


@pytest.mark.parametrize("tool", sorted(path.stem for path in TOOLS.glob("*.py") if path.stem != "fuzz"))
def test_tools_are_doors(tool):
    """A docstring, one import of the package, and ``sys.exit(main())``; fuzz.py tries the others."""
    command = COMMANDS[TOOL_OF[tool]]
    docstring, system, own, start = ast.parse((TOOLS / f"{tool}.py").read_text()).body
    assert ast.unparse(system) == "import sys" and isinstance(docstring, ast.Expr)
    assert ast.unparse(own) == f"from fastreid_privacy.commands.{command.module} import {command.entry}"
    assert ast.unparse(start) == f"if __name__ == '__main__':\n    sys.exit({command.entry}())"


# -- options -------------------------------------------------------------------------------------------------


def words_of(command: str, *words: object) -> list[str]:
    return [command, "--config-file", str(SMALL_CONFIG), *map(str, words), "MODEL.DEVICE", "cpu"]


def test_output_is_short_for_output_dir(tmp_path, capsys):
    """``train`` refuses the checkpoints in that folder, ``test`` misses them."""
    (tmp_path / "model_0001.pth").touch()
    assert main(words_of("train", "--output", tmp_path)) == 2
    assert f"{tmp_path}" in capsys.readouterr().err
    assert main(words_of("test", "--output", tmp_path / "new")) == 2
    assert f"{tmp_path / 'new' / 'model_best.pth'}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "test"])
def test_output_is_said_once(command, tmp_path, capsys):
    code, _, error = leaves([*words_of(command, "--output", tmp_path), "OUTPUT_DIR", "other"], capsys)
    assert code == 2 and "--output and OUTPUT_DIR" in error


CONFIG = ["--config-file", str(SMALL_CONFIG)]
NEITHER = "is neither a flag of fastreid-privacy {} nor a config key"


@pytest.mark.parametrize("command", ["train", "test", "reproduce"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/model.pth"], ["error: runs/model.pth " + NEITHER, "Leave it out", "KEY VALUE pairs"]),
        (["runs/model.pth", "MODEL.DEVICE", "cpu"], ["error: runs/model.pth " + NEITHER]),
        (["MODEL.DEVICE", "cpu", "my.yml", "SEED", "1"], ["error: my.yml " + NEITHER]),
        (
            ["MODEL.DEVICE", "cpu", "--num-gpus", "1"],
            ["error: --num-gpus stands behind KEY VALUE", "all flags of"],
        ),
        (["MODEL.DEVICE", "cpu", "--num-gpus=1"], ["error: --num-gpus=1 stands behind KEY VALUE"]),
        (["MODEL.DEVICE", "cpu", "--colour"], ["error: --colour " + NEITHER]),
        (["MODEL.DEVICE", "--num-gpus", "1"], ["error: MODEL.DEVICE has no value: --num-gpus follows"]),
        (["SEED", "MODEL.DEVICE", "cpu"], ["error: SEED has no value: MODEL.DEVICE follows"]),
        (["--output", "RUN", "SEED"], ["error: SEED has no value; give KEY VALUE pairs"]),
    ],
)
def test_the_first_word_that_is_neither_flag_nor_key_is_named(
    command, words, said, tmp_path, capsys, called_as
):
    called_as("/usr/bin/fastreid-privacy")
    words = [str(tmp_path / word) if word == "RUN" else word for word in words]
    assert main([command, *CONFIG, *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(part.format(command) in error for part in said), error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--resume", "continues the run in the folder of --output"),
        ("--eval-only", "checkpoint of MODEL.WEIGHTS"),
    ],
)
def test_a_path_behind_a_flag_that_takes_none(flag, meant, capsys):
    assert main(["train", *CONFIG, flag, "runs/model.pth", "MODEL.DEVICE", "cpu"]) == 2
    error = capsys.readouterr().err
    assert (
        "error: runs/model.pth is neither" in error
        and f"{flag} takes no value, it " in error
        and meant in error
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["people.png"], "error: people.png " + NEITHER),
        (["PRIVACY.DESENSITIZER.BLUR_SIGMA", "8", "people.png"], "error: people.png " + NEITHER),
        (["PRIVACY.DESENSITIZER.BLUR_SIGMA"], "error: PRIVACY.DESENSITIZER.BLUR_SIGMA has no value; give"),
        (["people.png", "--batch-size", "2", "MODEL.DEVICE", "cpu"], "error: people.png " + NEITHER),
    ],
)
def test_anonymize_names_it_too(words, said, tmp_path, capsys, called_as):
    called_as("/usr/bin/fastreid-privacy")
    start = [
        "anonymize",
        "--method",
        "blur",
        "--input",
        str(tmp_path / "raw"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*start, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(said.format("anonymize")) and error.count("\n") == 1


def test_pairs_of_anonymize_may_stand_on_both_sides_of_a_flag(tmp_path, capsys, monkeypatch):
    (tmp_path / "raw").mkdir()
    seen = []
    monkeypatch.setattr(anonymize, "_anonymize", lambda options: seen.append(options))
    first, second = ["PRIVACY.DESENSITIZER.MASK_VALUE", "0"], ["PRIVACY.DESENSITIZER.BLUR_SIGMA", "-1"]
    words = [*first, "--method", "blur", *second, "--output", str(tmp_path / "out")]
    assert main(["anonymize", "--input", str(tmp_path / "raw"), *words]) == 0
    assert seen[0].opts == [*first, *second] and seen[0].method == "blur"
    code, _, error = leaves(["anonymize", "--input", "raw", "--output", "out", "--colour", "red"], capsys)
    assert code == 2 and "--colour" in error


def test_report_takes_either_name_of_its_folder(tmp_path, capsys):
    for words in ([str(tmp_path)], ["--output", str(tmp_path)]):
        assert main(["report", *words]) == 2 and str(tmp_path) in capsys.readouterr().err
    for words in ([], [str(tmp_path), "--output", str(tmp_path)]):
        code, _, error = leaves(["report", *words], capsys)
        assert code == 2 and "--output" in error and "OUTPUT_DIR" in error


def test_reproduce_takes_output_by_both_names():
    parser = COMMANDS["reproduce"].load().build_parser()
    for flag in ("--output", "--output-dir"):
        assert parser.parse_args(["--config-file", "x.yml", flag, "folder"]).output == "folder"


SEEDS = "give whole numbers from 0 to 2147483647, each once, as in 0,1,2"
WORDS = "give words with commas between them, each once"
LISTS = {  # command line without the list, its option: {list: message}
    ("attack --raw r --protected p --output o", "--seeds"): {"0,0": WORDS, "0,00": SEEDS, "": SEEDS},
    ("attack --raw r --protected p --output o", "--rows"): {"A0,A0": WORDS, "A0,": WORDS},
    ("attack --raw r --protected p --output o", "--pairs"): {"8,all,8": WORDS},
    ("compare --methods m --output o", "--pairs"): {"8, 8": WORDS},
    ("reproduce --config-file c", "--seeds"): {"0,0": WORDS, "0,x": SEEDS, "-1": SEEDS, "0,00": SEEDS},
    ("reproduce --config-file c", "--tables"): {
        "7": "'7': unknown; known: 1, 3, 4, 5",
        "2,5": "'2': table 2 needs people: tools/human_study.py makes it; known: 1, 3, 4, 5",
        "": "'': unknown",
    },
    ("reproduce --config-file c", "--operators"): {
        "blur,mosaic": "'mosaic': unknown; known: blur, pixelate, noise",
        "blur,blur": WORDS,
    },
    ("human-study make --runs r --output o", "--groups"): {"blur": "'blur': unknown; known: blur-base-oi_pi"},
    ("bench", "--parts"): {
        "market,speed": "'speed': unknown; known: market, msmt17, million, steps, collection, cluster",
        "": "'': unknown",
    },
}


@pytest.mark.parametrize(("command", "option"), LISTS)
def test_lists_between_commas_are_read_strictly(command, option, capsys):
    for given, said in LISTS[command, option].items():
        code, _, error = leaves([*command.split(), f"{option}={given}"], capsys)
        assert code == 2 and f"argument {option}: " in error and said in error, given


def test_names_come_in_their_order_and_words_as_given():
    assert names_of(("a", "b", "c"))("c, a") == ("a", "c")
    assert words_of_list("c, a") == ("c", "a") and words_of_list("") == () and seeds("2, 0") == (2, 0)


def test_benchmarks_refuse_what_they_cannot_measure(capsys, monkeypatch):
    code, _, error = leaves(["bench", "--runs", "0"], capsys)
    assert code == 2 and "--runs: 0 is not at least 1" in error
    # before anything is measured
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for words, said in (
        (["market,steps", "SOLVER.IMS_PER_BATCHES", "8"], "SOLVER.IMS_PER_BATCH"),
        (["market,steps", "more"], "more is neither a flag"),
        (["market,steps", "--device", "cuda"], "torch sees 0 GPUs"),
        (["market", "--device", "cpu"], "are for training steps: name steps with --parts"),
        (["market", "SOLVER.IMS_PER_BATCH", "8"], "are for training steps"),
        (["market", "--scale", "0"], "--scale is 0; it must be above 0"),
    ):
        assert main(["bench", "--parts", *words]) == 2
        printed = capsys.readouterr()
        assert said in printed.err and not printed.out


def test_benchmarks_beside_their_peers(capsys, monkeypatch):
    monkeypatch.setenv("CFLAGS", "-O0")  # of fastreid's Cython, which is slow to compile
    assert main(["bench", "--parts", "market", "--scale", "0.01", "--runs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Ranking 33 × 1,500 × 2048" in printed and "fastreid ReidEvaluator, Python" in printed


# -- completion ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts():
    return {shell: program.completion(shell) for shell in SHELLS}


def complete(script: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    lines = [
        f"source {script}",
        f"COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1} COMPREPLY=()",
        "$(complete -p fastreid-privacy | sed 's/.*-F \\([^ ]*\\).*/\\1/')",
        "printf '%s\\n' \"${COMPREPLY[@]}\"",
    ]
    command = ["bash", "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=script.parent)
    assert not done.stderr
    return [word.strip() for word in done.stdout.splitlines() if word.strip()]


def test_bash_completes_commands_options_choices_and_files(scripts, tmp_path):
    script = tmp_path / "completion.bash"
    script.write_text(scripts["bash"])
    (tmp_path / "release.key").touch()
    subprocess.run(["bash", "-n", script], check=True)
    assert set(COMMANDS) <= set(complete(script, "fastreid-privacy", ""))
    assert complete(script, "fastreid-privacy", "hum") == ["human-study"]
    assert complete(script, "fastreid-privacy", "anonymize", "--se") == ["--seal", "--search", "--segment"]
    formats = complete(script, "fastreid-privacy", "anonymize", "--format", "")
    assert set(formats) == {"png", "jpg", "mkv", "mp4"}
    assert complete(script, "fastreid-privacy", "recover", "--key", "rel") == ["release.key"]
    assert complete(script, "fastreid-privacy", "retrieve", "build", "--gal") == ["--gallery"]
    assert complete(script, "fastreid-privacy", "train", "--out") == ["--output"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_every_command(scripts, shell):
    assert not [name for name in COMMANDS if name not in scripts[shell]]
    assert "seal" in scripts[shell]


def test_completion_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(program, "completion", lambda shell: f"script of {shell}")
    assert main(["--print-completion", "zsh"]) == 0
    assert capsys.readouterr().out == "script of zsh\n"


@pytest.mark.parametrize(
    "words",
    ["retrieve build", "retrieve query", "retrieve measure", "human-study make", "human-study score"],
)
def test_parts_of_a_command_have_an_example_and_a_version(words, capsys, called_as):
    called_as("/usr/bin/fastreid-privacy")
    code, printed, _ = leaves([*words.split(), "--help"], capsys)
    assert code == 0 and printed.startswith(f"usage: fastreid-privacy {words} ")
    assert re.search(rf"example(s|):\n  fastreid-privacy {words} --", printed)
    assert leaves([*words.split(), "--version"], capsys) == (0, "fastreid-privacy 0.1.0\n", "")


def test_an_index_is_named_by_either_option():
    parser = COMMANDS["retrieve"].load().build_parser()
    given = ["build", "--weights", "model.pth", "--gallery", "folder"]
    named = [parser.parse_args([*given, flag, "my.index"]).index for flag in ("--output", "--index")]
    assert named == [Path("my.index")] * 2


@pytest.mark.parametrize(
    ("command", "words", "keys"),
    [
        (retrieve, "build --weights w --gallery g --index i", "--search-key"),
        (retrieve, "measure --weights w --raw r --protected p", "--search-key"),
        (attack, "--raw r --protected p --output o", "--recovery-key or --near-key or --search-key"),
    ],
)
@pytest.mark.parametrize("where", ["--passphrase-env PASS", "--passphrase-fd 0"])
def test_a_passphrase_that_would_open_nothing_is_refused(
    command, words, keys, where, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert command.main([*words.split(), *where.split()]) == 2
    assert f"the passphrase would open nothing: name a key with {keys}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
