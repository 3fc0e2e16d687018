"""The grammar of environments: matrices and cases."""

from __future__ import annotations

from hpt_core.verifier.math.reading.functions import Functions
from hpt_core.verifier.math.reading.tokens import UnreadError
from hpt_core.verifier.math.tree import Apply, Conditional, Items, Matrix, Node
from hpt_core.verifier.math.vocabulary import CONDITION, words

_LINES = words("aligned align alignedat equation gathered gather split")
_MATRICES = words("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array")


class Environments(Functions):
    """Reads \\begin{...} to \\end{...}."""

    def _environment(self) -> Node:
        name = self._environment_name()
        if name == "array":
            self.expect("{")
            self.at = self.until("}") + 1
        if name.rstrip("*") in _LINES:
            return self._lines(name)
        rows: list[tuple[Node, ...]] = [()]
        while self.token.text != r"\end":
            if self.skip("\\\\"):
                rows.append(())
                continue
            if name == "cases" and self.token.text.casefold() in CONDITION - {"otherwise", "else"}:
                self.take()
            end = min(self.until("&"), self.until("\\\\"), self.until(r"\end"))
            comma = end > self.at + 1 and self.tokens[end - 1].text in (",", ";")
            rows[-1] += (self.part(end - comma),)
            self.at = end
            self.skip("&")
        self.take()
        if self._environment_name() != name:
            raise UnreadError("an environment that ends as another")
        return _environment(name, [row for row in rows if row])

    def _lines(self, name: str) -> Node:
        """Equations below each other, as a list."""
        end = self.until(r"\end")
        reader = type(self)([token for token in self.tokens[self.at : end] if token.text != "&"])
        lines: list[Node] = []
        while reader.at < len(reader.tokens):
            lines.append(reader.part(reader.until("\\\\")))
            reader.skip("\\\\")
        self.at = end + 1
        if self._environment_name() != name or not lines:
            raise UnreadError("an environment that ends as another")
        return lines[0] if len(lines) == 1 else Items(tuple(lines))

    def _environment_name(self) -> str:
        self.expect("{")
        name = ""
        while not self.skip("}"):
            name += self.take().text
        return name


def _environment(name: str, rows: list[tuple[Node, ...]]) -> Node:
    if name == "cases":
        cases: list[Node] = []
        if all(len(row) == 1 for row in rows):
            return Items(tuple(row[0] for row in rows))  # a system of equations
        for row in rows:
            if len(row) != 2:
                raise UnreadError("a case without its condition")
            condition = row[1].condition if isinstance(row[1], Conditional) else row[1]
            cases.append(Conditional(row[0], condition))
        return Items(tuple(cases))
    if name not in _MATRICES or not rows or len({len(row) for row in rows}) != 1:
        raise UnreadError(f"the environment {name}")
    matrix = Matrix(tuple(rows))
    return Apply("det", (matrix,)) if name == "vmatrix" else matrix
