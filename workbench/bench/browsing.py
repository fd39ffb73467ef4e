"""Of a bench: a browser in a cell, to look through what its catalog has."""

from typing import TYPE_CHECKING

from catalog.errors import QuestionError
from workbench.bench.questions import Questions
from workbench.bench.viewing import Viewing

if TYPE_CHECKING:
    from workbench.widgets.browser import Browser


class Browsing(Questions, Viewing):
    """Shows patients, studies and series to be looked through, selected and opened."""

    def browse(self, *words: str, where: str | None = None, view: str = "list") -> "Browser":
        """Look through the catalog in a cell: find, filter, sort, select, open; with pictures.

        `browser.selection` are the series that are selected there, as `series` gives them, `browser.found`
        all that are shown, `browser.question` what is asked. Only what is visible is read and sent, so that
        it scrolls through hundreds of thousands of series; what lies elsewhere has no picture, and is not
        fetched unasked.

        Parameters
        ----------
        *words, where
            What is asked for at first, as `find` takes it.
        view
            `list`, by patient and study, or `gallery`.

        Raises
        ------
        catalog.errors.QuestionError
            If it is not understood, or the browser's packages are not installed.
        """
        try:
            from workbench.widgets.asked import Asked
            from workbench.widgets.browser import Browser
        except ModuleNotFoundError as error:
            raise QuestionError(
                f"a browser needs {error.name}: pip install 'imaging-workbench[lab]'"
            ) from None
        text = " ".join(f'"{each}"' if " " in each else each for each in words)
        asked = Asked.from_page({"text": text, "where": where or "", "view": view})
        question = asked.question()
        self.count(question.where, **question.matching)
        return Browser(self.catalog, self.settings, asked, table=self._table, view=self.view)
