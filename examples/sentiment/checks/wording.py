"""Checks of this project's own: what it says of texts. `serinus check` runs them beside all others."""

import serinus


@serinus.check(why="A model that was trained on lower-case words alone called every SHOUTED review bad.")
def shouting(service, labelled):
    """A review in capitals is judged as the same review in small letters."""
    for row in labelled[:50]:
        (text,) = row.request
        (small,), (large,) = service([text.lower()]), service([text.upper()])
        assert small == large, f"line {row.line}: {small} became {large}"


@serinus.check
def certain(service, examples):
    """The service is sure of what nobody would doubt."""
    (answer,) = service(["I love this film"])
    if answer["probability"] < 0.9:
        return serinus.Finding(f"it is {answer['probability']} sure of a lovely film, expected 0.9")
    return f"{answer['probability']:.0%} sure"
