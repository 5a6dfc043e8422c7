"""What is measured on a labeled mapping series? The myocardium's T1 or T2."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cohort.cmrxrecon import read_times_ms
from flows.measured_values import Measured, Picture, checked, middle_slice
from flows.stages import ScanJob
from phenotyping.biomarkers import myocardial_t1, myocardial_t2
from phenotyping.relaxometry import fit_decay, fit_inversion_recovery
from recon.metrics import heart_box

MAP_NAME = {"T1 mapping": "t1_ms", "T2 mapping": "t2_ms"}
HEART_MARGIN_MM = 20.0


def measure_map(
    job: ScanJob,
    series: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    spacing: tuple[float, float, float],
    at: Mapping[str, int],
) -> Measured:
    """Myocardial T1 or T2: fit around the heart, median of the middle of the wall."""
    name = MAP_NAME[job.modality]
    times = read_times_ms(job.path)
    box = heart_box(labels, margin_px=round(HEART_MARGIN_MM / spacing[1]))
    rows, columns = (np.flatnonzero(box.any(axis=axis)) for axis in (1, 0))
    whole = np.full(series.shape[1:], np.nan, dtype=np.float64)
    sd = np.full(series.shape[1:], np.nan, dtype=np.float64)
    if len(rows):
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        for z in range(series.shape[1]):
            signal = np.moveaxis(series[: len(times), z, part[0], part[1]], 0, -1)
            if name == "t1_ms":
                recovery = fit_inversion_recovery(signal, times[:, z])
                fitted, fitted_sd = recovery.t1_ms, recovery.t1_sd_ms
            else:
                decay = fit_decay(signal, times[:, z])
                fitted, fitted_sd = decay.t_ms, decay.t_sd_ms
            whole[z][part], sd[z][part] = fitted, fitted_sd
    if name == "t1_ms":
        region = myocardial_t1(whole, labels[0], spacing_mm=spacing, t1_sd_ms=sd)
    else:
        # two unknowns and three preparation times: a single pixel's uncertainty is too rough to exclude pixels by
        region = myocardial_t2(whole, labels[0], spacing_mm=spacing)
    z = at.get("map", middle_slice(labels[0]))
    value = checked(name, region.median_ms, region.reason)
    return Measured((value,), (Picture("map", z, whole[z].astype(np.float32), labels[0, z]),))
