"""Electricity of a cell, as codecarbon estimates it: never measured closely enough to rank by.

codecarbon reads the processor's own counters (RAPL) or a card's where it may; else it multiplies
the processor's rated power by this process's share of its time, and takes a fixed power for memory.
The method stands beside the number. Nothing is sent or asked for over a network.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from typing import Any

from features.errors import InputError

_EVERY = 15
"""Seconds between two looks at the power: codecarbon's own default."""


def check_energy(country: str) -> None:
    """Raise `InputError` where codecarbon is not installed or does not know the country."""
    if util.find_spec("codecarbon") is None:
        raise InputError(
            "codecarbon is not installed",
            "it, to estimate energy",
            "pip install 'trialmark[energy]', or remove `energy`",
        )
    from codecarbon.input import DataSource

    known = DataSource().get_global_energy_mix_data()  # type: ignore[no-untyped-call]
    if country not in known:
        raise InputError(f"country {country!r}", "an ISO 3166 code of three letters, such as DEU")


@contextmanager
def estimated(country: str | None) -> Iterator[dict[str, Any]]:
    """What the block took, filled in at its end; stays empty where no country is given.

    So it does where codecarbon is not on this machine of a cluster, or finds nothing to read: what
    is only estimated must not cost the cell.

    Else `kwh` of electricity and `grams_co2e` by the `country`'s mix, and the `method` behind them.
    A graphics card is counted whole, whoever used it.
    """
    found: dict[str, Any] = {}
    if country is None or util.find_spec("codecarbon") is None:
        yield found
        return
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it talks before it is configured
    tracker = OfflineEmissionsTracker(
        country_iso_code=country,
        output_methods=[],
        log_level="critical",
        allow_multiple_runs=True,
        tracking_mode="process",
        measure_power_secs=_EVERY,
    )
    tracker.start()
    try:
        yield found
    finally:
        tracker.stop()
        data = getattr(tracker, "final_emissions_data", None)
        if data is not None:
            hardware = ", ".join(tracker._conf["hardware"])  # nothing public names the method
            found |= {
                "kwh": data.energy_consumed,
                "grams_co2e": data.emissions * 1000,
                "method": f"codecarbon {data.codecarbon_version}, this process: {hardware}",
                "country": country,
            }
