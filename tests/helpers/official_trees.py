"""Miniature UCF101 and HMDB51: the names of real clips, and official lists as their authors write them."""

from __future__ import annotations

from pathlib import Path

# Folder and videos are spelled HandstandPushups, the lists say HandstandPushups/v_HandStandPushups_g01_c01.avi.
UCF101_CLASSES = {"ApplyEyeMakeup": "ApplyEyeMakeup", "HandstandPushups": "HandStandPushups", "YoYo": "YoYo"}
UCF101_TEST_GROUPS = {1: (1, 2), 2: (3, 4), 3: (5, 6)}
UCF101_CLIPS = [
    f"{name}/v_{name}_g{group:02d}_c{number:02d}.avi"
    for name in UCF101_CLASSES
    for group in range(1, 8)
    for number in (1, 2)
]

# class -> clip -> its part in the splits 1, 2 and 3: 0 unused, 1 train, 2 test
HMDB51_LISTS = {
    "clap": {
        "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi": "122",
        "(2)_Applause_[HQ]_clap_u_cm_np1_fr_med_0.avi": "211",
        "Clap_&_Stomp!_clap_f_nm_np1_le_bad_3.avi": "111",
        "A;_B,_C=D+E_clap_h_nm_np2_ba_goo_1.avi": "121",
        "BMX_'90_clap_u_nm_np1_ri_med_2.avi": "110",
    },
    "fall_floor": {
        "#Krav_Maga#_fall_floor_f_cm_np1_le_med_1.avi": "112",
        "1_(2)_fall_floor_u_nm_np1_fr_bad_0.avi": "121",
        "Kung_Fu_fall_floor_l_nm_np1_ba_goo_7.avi": "211",
        "LONGESTYARD_fall_floor_f_cm_np1_fr_med_26.avi": "111",
        "TrumanShow_fall_floor_f_nm_np1_ba_med_5.avi": "011",
    },
}
HMDB51_CLIPS = [f"{name}/{clip}" for name, clips in HMDB51_LISTS.items() for clip in clips]


def write_ucf101_lists(folder: Path) -> Path:
    """classInd.txt, trainlist01.txt to 03 with class numbers, testlist01.txt to 03 without."""
    folder.mkdir(parents=True)
    numbers = {name: number for number, name in enumerate(UCF101_CLASSES, start=1)}
    _write(folder / "classInd.txt", [f"{number} {name}" for name, number in numbers.items()])
    for split, groups in UCF101_TEST_GROUPS.items():
        train, test = [], []
        for clip in UCF101_CLIPS:
            name = clip.partition("/")[0]
            listed = clip.replace(f"v_{name}", f"v_{UCF101_CLASSES[name]}")
            in_test = int(clip[-10:-8]) in groups
            (test if in_test else train).append(listed if in_test else f"{listed} {numbers[name]}")
        _write(folder / f"trainlist0{split}.txt", train)
        _write(folder / f"testlist0{split}.txt", test)
    return folder


def write_hmdb51_lists(folder: Path) -> Path:
    """<class>_test_split1.txt and so on, with the space that ends every line of the real ones."""
    folder.mkdir(parents=True)
    for name, clips in HMDB51_LISTS.items():
        for split in (1, 2, 3):
            _write(folder / f"{name}_test_split{split}.txt", [f"{clip} {p[split - 1]} " for clip, p in clips.items()])
    return folder


def _write(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())
