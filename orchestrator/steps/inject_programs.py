"""Programs that injects run within a bubble, by the host's own Python."""

# Changes the last byte of the largest file that is named so, below the folder that is named.
FLIP = """
import os, sys
found = [os.path.join(place, name) for place, _, names in os.walk(sys.argv[1]) for name in names]
files = [path for path in found if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path)]
if not files:
    sys.exit("no file below " + sys.argv[1])
path = max(files, key=lambda each: (os.path.getsize(each), each))
times = os.stat(path)
with open(path, "r+b") as stream:
    stream.seek(-100 if os.path.getsize(path) > 100 else -1, os.SEEK_END)
    byte = stream.read(1)
    stream.seek(-1, os.SEEK_CUR)
    stream.write(bytes([byte[0] ^ 1]))
os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
"""

# Answers every read below the mounts that are named only after a while, as long as the bubble lives: fanotify(7) asks
# it before the kernel lets a read go on.
SLOW = """
import ctypes, os, struct, sys, time
FAN_CLASS_CONTENT, FAN_CLOEXEC, FAN_MARK_ADD, FAN_MARK_MOUNT, FAN_ACCESS_PERM, FAN_ALLOW = 4, 1, 1, 16, 0x20000, 1
libc = ctypes.CDLL(None, use_errno=True)
asked = libc.fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, os.O_RDONLY)
for place in sys.argv[2:]:
    flags = FAN_MARK_ADD | FAN_MARK_MOUNT
    if asked < 0 or libc.fanotify_mark(asked, flags, ctypes.c_uint64(FAN_ACCESS_PERM), -100, place.encode()):
        sys.exit("making %s slow: %s" % (place, os.strerror(ctypes.get_errno())))
if os.fork():
    os._exit(0)
os.setsid()
nothing = os.open("/dev/null", os.O_RDWR)
for stream in (0, 1, 2):
    os.dup2(nothing, stream)
while True:
    said = os.read(asked, 24)
    descriptor = struct.unpack("=IBBHQii", said)[5]
    time.sleep(float(sys.argv[1]))
    os.write(asked, struct.pack("=iI", descriptor, FAN_ALLOW))
    os.close(descriptor)
"""

# Copies a sample of a folder by rsync over the bubble's own link, and takes that link down while it goes on.
CUT = """
import json, os, subprocess, sys, tempfile, time
tree, address = sys.argv[1:]
sample, total = [], 0
for place, _, names in os.walk(tree):
    for path in (os.path.join(place, name) for name in sorted(names)):
        size = os.path.getsize(path) if os.path.isfile(path) and not os.path.islink(path) else 0
        if size and total + size <= 8 << 20:
            sample.append(os.path.relpath(path, tree))
            total += size
if not sample:
    sys.exit("no file below " + tree + " that is small enough to be copied")
folder = tempfile.mkdtemp(dir="/tmp")
settings, listed, came = (os.path.join(folder, name) for name in ("rsyncd.conf", "list", "came"))
with open(settings, "w") as stream:
    stream.write("[held]\\npath = %s\\nuse chroot = no\\nuid = 0\\ngid = 0\\n" % tree)
with open(listed, "w") as stream:
    stream.write("\\0".join(sample))
os.mkdir(came)
port = "8730"
server = ["rsync", "--daemon", "--no-detach", "--config=" + settings, "--address=" + address, "--port=" + port]
server = subprocess.Popen(server, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
def arrived():
    found = [os.path.join(place, name) for place, _, names in os.walk(came) for name in names]
    return sum(os.path.getsize(path) for path in found), len(found)
words = ["rsync", "-a", "--timeout=4", "--from0", "--files-from=" + listed]
words += ["--bwlimit=%d" % max(1, total // 20480), "rsync://%s:%s/held/" % (address, port), came]
for _ in range(50):
    time.sleep(0.1)
    copy = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while copy.poll() is None and not arrived()[0]:
        time.sleep(0.02)
    if copy.poll() is None:
        break
    copy.communicate()
    if arrived()[0]:
        sys.exit("the copy was over before the link could be cut")
subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
try:
    said = copy.communicate(timeout=8)[1].decode(errors="replace").strip().splitlines()
except subprocess.TimeoutExpired:  # rsync's own limit does not see every end of a link
    copy.kill()
    said = ["no byte came for 8 s, and it was ended"]
server.kill()
whole = sum(
    os.path.isfile(os.path.join(came, name)) and os.path.getsize(os.path.join(came, name))
    == os.path.getsize(os.path.join(tree, name)) for name in sample
)
print(json.dumps({"code": copy.wait(), "said": said[-1:], "whole": whole, "of": len(sample)}))
"""
