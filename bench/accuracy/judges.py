"""The judges that are compared: each learns one half of the corpus and scores the other."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.accuracy.corpus import Sample
from posthorn.wire.spam.bayes import EMPTY, Lesson, bayes_points, spamminess
from posthorn.wire.spam.facts import read_facts
from posthorn.wire.spam.rule import Case
from posthorn.wire.spam.scorer import score
from posthorn.wire.spam.tokens import tokens_of


@dataclass(frozen=True, slots=True)
class Result:
    """The scores of a judge, in the order of the samples, and the line between ham and spam."""

    judge: str
    threshold: float
    scores: list[float]
    milliseconds: float
    """CPU of this process per message scored; 0 where another process works."""

    def wrong(self, tested: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
        """Return the false positives, and the spam that was missed."""
        pairs = list(zip(tested, self.scores, strict=True))
        return (
            [each for each, points in pairs if not each.is_spam and points >= self.threshold],
            [each for each, points in pairs if each.is_spam and points < self.threshold],
        )


def built_in(taught: Sequence[Sample], tested: Sequence[Sample]) -> list[Result]:
    """Rules and Bayes as delivery adds them up; the client is not known, nor is DNS."""
    lessons = [Lesson(tokens_of(read_facts(each.content)), each.is_spam) for each in taught]
    model = EMPTY.taught(lessons)
    began = time.process_time()
    rules, likes = [], []
    for each in tested:
        facts = read_facts(each.content)
        rules.append(sum(match.points for match in score(Case(facts))))
        likes.append(spamminess(tokens_of(facts), model))
    spent = 1000 * (time.process_time() - began) / len(tested)
    sums = [points + bayes_points(like, model) for points, like in zip(rules, likes, strict=True)]
    return [
        Result("Posthorn, rules and Bayes, from 6 points", 6.0, sums, spent),
        Result("Posthorn, Bayes alone, from 0.9", 0.9, likes, 0.0),
        Result("Posthorn, rules alone, from 6 points", 6.0, rules, 0.0),
    ]


def bogofilter(taught: Sequence[Sample], tested: Sequence[Sample], directory: Path) -> list[Result]:
    """Debian's bogofilter."""
    program = shutil.which("bogofilter")
    if program is None:
        print("accuracy: bogofilter is not installed; it is left out")
        return []
    shutil.rmtree(directory, ignore_errors=True)
    database = directory / "database"
    database.mkdir(parents=True)
    paths = {each.name: directory / each.name.replace("/", "-") for each in (*taught, *tested)}
    for each in (*taught, *tested):
        paths[each.name].write_bytes(each.content.replace(b"\r\n", b"\n"))
    base = [program, "-C", "-d", str(database)]
    for option, is_spam in (("-s", True), ("-n", False)):
        files = [str(paths[each.name]) for each in taught if each.is_spam is is_spam]
        subprocess.run([*base, option, "-B", *files], check=True)
    answer = subprocess.run(
        [*base, "-T", "-B", *(str(paths[each.name]) for each in tested)],
        check=False,  # 1 for the last one being ham
        capture_output=True,
        text=True,
    )
    scores = [float(line.split()[-1]) for line in answer.stdout.splitlines()]
    if len(scores) != len(tested):
        raise SystemExit(
            f"accuracy: bogofilter answered {answer.stdout[:200]}{answer.stderr[:200]}"
        )
    shutil.rmtree(directory)
    return [
        Result(f"bogofilter, from {threshold:g}", threshold, scores, 0.0)
        for threshold in (0.9, 0.99)
    ]


def rspamd(
    taught: Sequence[Sample], tested: Sequence[Sample], worker: str, controller: str, lessons: int
) -> list[Result]:
    """A running rspamd: URLs of its worker and its controller, and how many messages of spam and
    of ham it is taught."""
    for path, is_spam in (("learnspam", True), ("learnham", False)):
        for each in [each for each in taught if each.is_spam is is_spam][:lessons]:
            try:
                _post(f"{controller}/{path}", each.content)
            except urllib.error.HTTPError as error:
                if error.code != 208:  # known already
                    raise
    scores = [
        float(json.loads(_post(f"{worker}/checkv2", each.content))["score"]) for each in tested
    ]
    return [Result("rspamd, from 6 points", 6.0, scores, 0.0)]


def _post(url: str, content: bytes) -> bytes:
    request = urllib.request.Request(url, content, {"Content-Type": "message/rfc822"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: bytes = answer.read()
    return found
