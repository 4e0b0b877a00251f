"""Small machines for tests: an ext4 image with a kernel of this machine's distribution and an initramfs of busybox.

Its /init finds the image's own file system, serves the image's /srv by HTTP, greets at another port, and writes to the
image. And disks of one sector, for what a BIOS starts.
"""

import gzip
import shutil
import subprocess
from pathlib import Path

HTTP_PORT, GREETING_PORT = 8080, 2222
UP = "the machine of the register is up"
IMAGE_BYTES = 96 * 1024 * 1024
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ext4")
INIT = f"""#!/bin/sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /image
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in {" ".join(MODULES)}; do modprobe $module; done
mount -t ext4 /dev/vda /image || exec poweroff -f
echo written by the machine > /image/srv/written
ip link set lo up
ip link set eth0 up
udhcpc -q -n -i eth0 -s /lease
httpd -p {HTTP_PORT} -h /image/srv
(while true; do echo welcome to the register | nc -l -p {GREETING_PORT}; done) &
cat /image/srv/letter
echo {UP}
echo {UP} > /dev/tty0
while true; do sleep 60; done
"""
LEASE = '#!/bin/sh\n[ -z "$ip" ] || ip addr replace "$ip/24" dev "$interface"\n'


def kernel() -> Path:
    return max(Path("/boot").glob("vmlinuz-*"))


def initramfs(folder: Path) -> bytes:
    """With what it needs of the kernel's modules; Debian's cloud kernel has all of them as modules but ext4."""
    tree, version = folder / "initramfs", kernel().name.removeprefix("vmlinuz-")
    for name, text in (("init", INIT), ("lease", LEASE)):
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)
    (tree / "bin").mkdir()
    shutil.copy("/bin/busybox", tree / "bin")
    (tree / "bin/sh").symlink_to("busybox")
    modules = Path("/lib/modules") / version
    kept = tree / "lib/modules" / version
    kept.mkdir(parents=True)
    words = ["modprobe", "-S", version, "-a", "--show-depends", *MODULES]
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    for path in (Path(line.split()[1]) for line in listed if line.startswith("insmod")):
        place = kept / path.relative_to(modules)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    for name in ("modules.dep", "modules.alias", "modules.symbols", "modules.builtin", "modules.order"):
        shutil.copy(modules / name, kept)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))) + "\n"
    words = ["busybox", "cpio", "-o", "-H", "newc"]
    packed = subprocess.run(words, cwd=tree, input=names.encode(), check=True, capture_output=True).stdout
    shutil.rmtree(tree)
    return gzip.compress(packed, 1)


def a_machine_image(path: Path, letter: str, *, rotten: bool = False) -> Path:
    """An ext4 file system over the whole image. A `rotten` one has an initramfs that is none."""
    tree, version = path.with_suffix(".tree"), kernel().name.removeprefix("vmlinuz-")
    (tree / "boot").mkdir(parents=True)
    (tree / "srv").mkdir()
    (tree / "boot" / f"vmlinuz-{version}").write_bytes(kernel().read_bytes())
    (tree / "boot" / f"initrd.img-{version}").write_bytes(b"rot" * 100_000 if rotten else initramfs(path.parent))
    (tree / "srv/letter").write_text(letter + "\n")
    (tree / "srv/healthz").write_text('{"letter": "' + letter + '"}\n')
    with path.open("wb") as stream:
        stream.truncate(IMAGE_BYTES)
    words = ["/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    shutil.rmtree(tree)
    return path


def a_boot_sector(path: Path, words: str) -> Path:
    """A disk whose boot record says `words` by the BIOS, and then stands still."""
    # mov si,0x7c10; lodsb; test al,al; jz here; mov ah,0x0e; int 0x10; jmp to lodsb
    code = bytes.fromhex("be107c ac 84c0 74fe b40e cd10 ebf5")
    sector = code.ljust(16, b"\x90") + words.encode() + b"\r\n\0"
    path.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(1024 * 1024))
    return path
