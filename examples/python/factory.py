"""A camera in C, a look at its pictures with numpy, and a count of what was found in C again.

The camera and the counter are the program examples/c/factory.c, which this one starts as members of
its family; it is given where that is. Pictures come as numpy arrays over the memory that the camera
has written to.
"""

import sys

import numpy

import mproc

PICTURES = 40


def main(program: str) -> None:
    pictures, findings = mproc.Queue(4), mproc.Queue()
    histogram = mproc.Array("q", 8)
    camera = mproc.Program([program, "camera"], args=(pictures, PICTURES, (480, 640)))
    counter = mproc.Program([program, "counter"], args=(findings, histogram))
    camera.start()
    counter.start()
    while (picture := pictures.get()) is not None:
        number, pixels = picture
        bright = pixels > 200
        rows, columns = numpy.nonzero(bright)
        findings.put({"picture": number, "bright": int(bright.sum()), "rows": rows, "at": columns})
    findings.put(None)
    for child in (camera, counter):
        child.join()
        assert child.exitcode == 0, child
    print(f"{PICTURES} pictures of 480 x 640")
    print(f"bright spots by place: {list(histogram)}")
    print(f"all: {sum(histogram)}")


if __name__ == "__main__":
    main(sys.argv[1])
