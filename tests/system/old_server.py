"""A server as the Python one is written: one viewer at a time, blocking, pickles of what cv2.imencode gives.

old_server.py: prints its port, then one line of JSON when each viewer leaves, with the commands that it was sent. What each
viewer gets differs: all protocols of pickle, both shapes that OpenCV has given, and the kinds of pictures there are.
"""

import json
import pickle
import socket
import struct
import sys

import cv2
import numpy as np

# As long as in the original: it is cut at 280 bytes, in the middle of a time.
TEXT = """Cam_Info_List
        -UID: camera0x11
        -Name: camera01
        -Type: 3D Depth Camera
        -Location: Underground Parking(B2)
        -Resolution: 512X424
        -FrameRate: 10fps
    Event_Info_List
        -StartTime: 2020:11:10:13:55:34
        -EndTime: 2020:11:10:13:55:39
        -EventID: 10
"""


def index(number):
    """The indices of a picture: slopes that move."""
    y, x = np.mgrid[0:424, 0:512]
    return ((x // 4 + y // 8 + 3 * number) % 256).astype(np.uint8)


def picture(kind, number):
    """A picture, encoded."""
    grey = index(number)
    colour = cv2.applyColorMap(grey, cv2.COLORMAP_JET)
    suffix, image = {"colour": (".png", colour), "grey": (".png", grey), "jpeg": (".jpg", colour)}[kind]
    return cv2.imencode(suffix, image)[1].reshape(-1)


# (protocol, shape with a second side, kind): what a viewer is served by its place.
TURNS = [(p, two, "colour") for two in (False, True) for p in range(6)] + [(0, False, "grey"), (0, True, "jpeg")]


def serve():
    """Until a viewer says `2`."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(10)
    print(listener.getsockname()[1], flush=True)
    viewers = number = 0
    while True:
        connection, _ = listener.accept()
        protocol, two, kind = TURNS[viewers % len(TURNS)]
        viewers += 1
        commands = b""
        while True:
            try:
                command = connection.recv(2)
            except ConnectionResetError:
                command = b""
            commands += command + b"."
            if command != b"0":
                break
            array = picture(kind, number)
            number += 1
            data = pickle.dumps(array.reshape(-1, 1) if two else array, protocol)
            try:
                connection.sendall(struct.pack(">L 280s", len(data), TEXT.encode()) + data)
            except OSError:
                break
        connection.close()
        print(json.dumps({"commands": commands.decode("latin-1"), "kind": kind, "last": number - 1}), flush=True)
        if command == b"2":
            return


if __name__ == "__main__":
    sys.exit(serve())
