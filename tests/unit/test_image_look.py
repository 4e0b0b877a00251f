"""What a disk is found to have, by looking into real ext4 and XFS file systems without mounting them."""

import gzip
import lzma
import os
from pathlib import Path

import pytest

from orchestrator.targets.host_programs.image_look.initramfs import names_in
from orchestrator.targets.host_programs.image_look.program import look
from tests.fakes.disk_images import UUID, WILLING, a_disk, an_archive, an_xfs_volume

KERNEL = "lib/modules/6.1.0"
LOADABLE = {**WILLING, f"{KERNEL}/modules.builtin": ""}  # nvme is a module, so the initramfs must bring it
WITH_NVME = an_archive("etc", f"usr/{KERNEL}/kernel/drivers/nvme/host/nvme.ko.xz")
PACKED = gzip.compress(WITH_NVME, mtime=0)  # names of tests are made of it: the same in every process
WITHOUT = an_archive("etc", f"usr/{KERNEL}/kernel/drivers/ata/ahci.ko")
MICROCODE = an_archive("kernel/x86/microcode/GenuineIntel.bin")
INITRAMFS = "boot/initrd.img-6.1.0"


def found(path: Path) -> dict[str, tuple[bool | None, str]]:
    return {each["id"]: (each["holds"], each["said"]) for each in look(str(path))["findings"]}


@pytest.mark.parametrize(
    ("content", "holds", "said"),
    [
        (PACKED, True, "has nvme"),
        (MICROCODE + PACKED, True, "has nvme"),  # as Debian and Red Hat put them together
        (MICROCODE + bytes(512) + lzma.compress(WITHOUT), False, "would not find its disk"),
        (WITHOUT, False, "lacks nvme"),
        (b"not an archive", None, "neither an archive"),
        (PACKED[:40], None, "cannot be read"),
        (WITH_NVME[: WITH_NVME.index(b"TRAILER") - 110], None, "in the middle of an archive"),
        (b"", None, "in the middle of an archive"),
        (None, None, "no initramfs of kernel 6.1.0 was found"),
    ],
)
def test_the_driver_of_the_first_disk_is_looked_for_in_the_initramfs(tmp_path, content, holds, said):
    files = LOADABLE if content is None else {**LOADABLE, INITRAMFS: content}
    path = a_disk(tmp_path / "disk", files)
    assert found(path)["initramfs"][0] is holds
    assert said in found(path)["initramfs"][1]


def test_a_driver_that_is_built_in_needs_no_initramfs(tmp_path):
    assert found(a_disk(tmp_path / "disk"))["initramfs"] == (True, "kernel 6.1.0 has nvme built in")


def test_a_root_that_is_mounted_by_another_file_systems_uuid_is_told(tmp_path):
    other = "11111111-2222-3333-4444-555555555555"
    path = a_disk(tmp_path / "disk", {**WILLING, "etc/fstab": f"UUID={other} / ext4 defaults 0 1\n"})
    assert found(path)["fstab"] == (
        False,
        f"/ is to be mounted from UUID={other}, but this file system is {UUID}",
    )


REDHATS = "etc/sysconfig/network-scripts/ifcfg-"
STATIC = "iface ens3 inet static\n  address 10.1.1.1\n"
NO_NETWORK = {"etc/network/interfaces": ""}


@pytest.mark.parametrize(
    ("finding", "files", "holds", "said"),
    [
        ("fstab", {"etc/fstab": f"UUID={UUID} / ext4 defaults 0 1\nLABEL=data /srv xfs rw 0 2\n"}, True, "2 lines"),
        ("fstab", {"etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n"}, False, "/dev/sda1; use UUID="),
        ("fstab", {"etc/fstab": "# nothing\n"}, None, "nothing in it"),
        ("drivers", {}, True, "has ena, nvme"),
        ("drivers", {f"{KERNEL}/modules.dep": "kernel/nvme.ko:\n"}, False, "lacks ena"),
        ("cloud_init", {}, True, "cloud-init is there"),
        ("cloud_init", {"etc/cloud/cloud-init.disabled": ""}, False, "disabled"),
        ("network", {}, True, "/etc/network/interfaces"),
        ("network", {"etc/network/interfaces": STATIC}, False, "fixed in /etc/network/interfaces"),
        ("network", {"etc/netplan/1.yaml": "network: {ethernets: {e: {macaddress: 1:2}}}\n"}, False, "1.yaml"),
        ("network", {"etc/systemd/network/a.network": "[Network]\nAddress=10.1.1.1/24\n"}, False, "a.network"),
        ("network", {f"{REDHATS}eth0": "BOOTPROTO=none\nIPADDR=10.1.1.1\n"}, False, "ifcfg-eth0"),
        ("network", {f"{REDHATS}eth0": "BOOTPROTO=dhcp\n"}, True, "ifcfg-eth0"),
        ("network", {"etc/NetworkManager/system-connections/a": "[ipv4]\nmethod=manual\n"}, False, "connections/a"),
        ("network", {"etc/udev/rules.d/70-persistent-net.rules": 'ATTR{address}=="52:54:00:01:02:03"\n'}, False, "70-"),
        ("network", NO_NETWORK, None, "no configuration of the network"),
        ("network", {**NO_NETWORK, f"{REDHATS}lo": "IPADDR=127.0.0.1\n"}, None, "no config"),
    ],
)
def test_each_finding_is_told_from_the_disk_and_never_guessed(tmp_path, finding, files, holds, said):
    told = found(a_disk(tmp_path / "disk", {**WILLING, **files}))[finding]
    assert told[0] is holds
    assert said in told[1]


def test_what_a_disk_has_nothing_of_is_told_as_such(tmp_path):
    told = found(a_disk(tmp_path / "disk", {"etc/hostname": "bare"}))
    assert {name: holds for name, (holds, _) in told.items()} == {
        "partitions": True,
        "fstab": None,
        "drivers": None,
        "initramfs": None,
        "cloud_init": False,
        "network": None,
    }


@pytest.mark.platform("xfsprogs")
def test_an_xfs_root_is_read_as_an_ext_one_is(tmp_path):
    program = Path("/bin/ls").read_bytes()
    initramfs = MICROCODE + PACKED
    files: dict[str, str | bytes] = {
        **LOADABLE,
        INITRAMFS: initramfs,
        "usr/bin/ls": program,
        "etc/fstab": f"UUID={UUID} / xfs defaults 0 0\n",
    }
    path = an_xfs_volume(tmp_path / "volume", files)
    facts = look(str(path))
    assert (facts["file_system"], facts["architecture"], facts["partitions"]) == ("xfs", "x86_64", "none")
    assert {name: holds for name, (holds, _) in found(path).items()} == {
        "partitions": None,
        "fstab": True,
        "drivers": True,
        "initramfs": True,
        "cloud_init": True,
        "network": True,
    }
    bad: dict[str, str | bytes] = {**files, "etc/fstab": "/dev/sda1 / xfs defaults 0 0\n", INITRAMFS: WITHOUT}
    told = found(an_xfs_volume(tmp_path / "other", bad))
    assert (told["fstab"][0], told["initramfs"][0]) == (False, False)


def test_a_disk_without_a_file_system_tells_nothing(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(1 << 20))
    assert {holds for holds, _ in found(path).values()} == {None}


def test_names_of_every_archive_are_read():
    assert names_in(MICROCODE + PACKED) >= {"etc", "kernel/x86/microcode/GenuineIntel.bin"}
