"""A viewer as the old Python client is written: blocking socket, unpickle, decode, show in a window, say goodbye.

viewer.py HOST PORT FRAMES TITLE X Y: shows at least that many frames and goes on until its standard input ends. Prints
one line of JSON with what it saw; exits 1 if a picture came twice in a row.
"""

import hashlib
import json
import pickle
import select
import socket
import struct
import sys
import time

import cv2

HEAD = ">L280s"


def main(host, port, frames, title, x, y):
    """Shows frames in a window at that place."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(30)
    sock.connect((host, int(port)))
    data = b""
    size = struct.calcsize(HEAD)
    cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
    shown, repeats, last, started = 0, 0, None, time.time()
    while shown < int(frames) or not select.select([sys.stdin], [], [], 0)[0]:
        sock.send(b"0")
        while len(data) < size:
            part = sock.recv(4096)
            if not part:
                sys.exit("the server closed")
            data += part
        length, text = struct.unpack(HEAD, data[:size])
        data = data[size:]
        while len(data) < length:
            part = sock.recv(4096)
            if not part:
                sys.exit("the server closed in a picture")
            data += part
        payload, data = data[:length], data[length:]
        if not text.decode().startswith("Cam_Info_List\n"):
            sys.exit(f"not the text block: {text!r}")

        frame = cv2.imdecode(pickle.loads(payload), cv2.IMREAD_COLOR)
        cv2.imshow(title, frame)
        cv2.waitKey(1)
        if shown == 0:
            # Time for the toolkit to get its window on the screen: without it, on a crowded machine, Qt now and then
            # leaves a window empty for ever.
            cv2.waitKey(300)
            cv2.moveWindow(title, int(x), int(y))
            cv2.waitKey(300)
        key = hashlib.sha256(frame.tobytes()).digest()
        shown += 1
        repeats += key == last
        last = key
    sock.send(b"1")
    rest = sock.recv(1)
    print(json.dumps({"frames": shown, "repeats": repeats, "seconds": round(time.time() - started, 2),
                      "shape": frame.shape, "clean_end": rest == b"" and data == b""}))
    cv2.destroyAllWindows()
    if repeats or rest or data:
        sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
