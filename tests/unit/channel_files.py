"""Folders and files of measured houses."""

NOON = 1303142400  # 2011-04-18 12:00 in New York


def house(root, labels="1 mains\n2 mains\n3 oven\n", number=1, **channels):
    """Writes a house; channels are c1="1 2\\n", and so on."""
    folder = root / f"house_{number}"
    folder.mkdir(parents=True)
    (folder / "labels.dat").write_text(labels)
    for name, text in channels.items():
        (folder / f"channel_{name[1:]}.dat").write_text(text)
    return folder


def write(path, seconds, watts, form="{:.0f} {:g}\n"):
    """A channel file of some readings."""
    path.write_text("".join(form.format(*reading) for reading in zip(seconds, watts)))
