"""Published scores of the LVCD paper, as rows of protocols of their own that are never ranked with measured ones."""

from __future__ import annotations

from typing import Any

from .row import Row

SOURCE = "Huang et al. 2024, LVCD, arXiv 2409.12960, section 6"
PUBLISHED = "2024-09-19T00:00:00+00:00"
HIGHER_IS_BETTER = {"FID": False, "FVD": False, "LPIPS": False, "PSNR": True, "SSIM": True, "EDMD": False, "TC": None}
"""Column -> higher_is_better; None: nearest to 1."""
TIMES = "time / time without overlap"

SIMILAR = """
ACOF (prev)      77.9654 690.6636 .3671 10.8886 .2634 13.2373 2.6077
ACOF (first)     25.2291 280.1266 .1310 19.6044 .8013 7.8377 1.2265
TCVC (prev)      77.6475 779.2147 .3792 11.7784 .4752 11.3185 1.8821
TCVC (first)     23.4118 217.4509 .1419 17.9502 .7587 6.4081 1.3628
CNet + Ref-only  16.9340 170.2000 .1114 18.7949 .7844 7.1903 1.4581
EISAI + CNet     18.9262 227.6656 .1413 18.1603 .7314 8.2527 1.2952
SEINE + CNet     23.0797 836.4528 .1655 17.2425 .6504 8.6777 2.3644
LVCD             8.8423 40.2711 .0560 24.5489 .8790 4.3386 1.0784
"""
GENERAL = """
ACOF (prev)      91.6352 588.8971 .3772 10.7118 .2788 15.2450 3.0174
ACOF (first)     23.4283 224.1050 .1097 21.2396 .8208 8.6646 1.2601
TCVC (prev)      91.7752 711.6013 .4191 11.0152 .4570 13.5151 2.0850
TCVC (first)     26.6516 224.9740 .1531 17.7315 .7473 7.3664 1.4165
CNet + Ref-only  17.1442 135.8851 .0879 20.6059 .8043 8.1612 1.3272
EISAI + CNet     19.0419 190.6165 .1099 20.0647 .7810 9.5414 1.2306
SEINE + CNet     30.5665 820.9603 .1464 18.2319 .6940 10.6964 2.2858
LVCD             8.8038 32.6929 .0399 26.7859 .9182 6.4648 1.1025
"""
ABLATION = """
LVCD                          8.8423 40.2711 .0560 4.3386 1.0784
without reference attention   9.6793 41.2857 .0694 5.0137 1.1563
without the sampling schemes  8.6321 40.5472 .0523 4.4863 1.1479
previous frame as reference   11.1873 42.2713 .0925 5.4924 1.2475
"""
OVERLAP = """
LVCD, overlap 2   8.7594 50.8983 .0558 4.3143 1.0949 1.17
LVCD, overlap 4   8.8423 40.2711 .0560 4.3386 1.0784 1.40
LVCD, overlap 6   8.8582 45.2426 .0565 4.2694 1.0737 1.75
LVCD, overlap 8   8.8227 44.3100 .0567 4.3265 1.0785 2.33
LVCD, overlap 10  8.8683 40.8429 .0578 4.3795 1.0745 3.50
"""
ABLATED_COLUMNS = ("FID", "FVD", "LPIPS", "EDMD", "TC")
TABLES = (
    ("LVCD paper, Similar test set", tuple(HIGHER_IS_BETTER), SIMILAR),
    ("LVCD paper, General test set", tuple(HIGHER_IS_BETTER), GENERAL),
    ("LVCD paper, ablation on the Similar test set", ABLATED_COLUMNS, ABLATION),
    ("LVCD paper, overlap on the Similar test set", (*ABLATED_COLUMNS, TIMES), OVERLAP),
)


def cited() -> list[Row]:
    """Return the rows of the paper's tables 1 to 3, digit for digit."""
    return [_row(name, columns, line) for name, columns, table in TABLES for line in table.strip().splitlines()]


def _row(protocol_name: str, columns: tuple[str, ...], line: str) -> Row:
    method, *values = line.rsplit(maxsplit=len(columns))
    protocol: dict[str, Any] = {
        "name": protocol_name, "data": None, "width": 256, "height": 256, "frames": None, "clips": None,
        "reference": None, "sketch": None, "binarized": None, "metrics": {column: {} for column in columns},
    }  # fmt: skip
    nothing: dict[str, Any] = {"n": None, "interval": None, "settings": {}, "extractor": None, "notes": []}
    return Row(
        method={"name": method.strip(), "settings": {}},
        protocol=protocol,
        n=None,
        metrics={
            column: {
                "name": column,
                "value": float(value),
                **nothing,
                "higher_is_better": HIGHER_IS_BETTER.get(column, False),
            }
            for column, value in zip(columns, values, strict=True)
        },
        clips=[],
        source=SOURCE,
        time=PUBLISHED,
    )
