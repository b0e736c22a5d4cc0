"""Foreign pictures for those who have no foreign photographs: outliers made by rule, labelled *others* in every group.

Begin with `pictures.py`. A family is a function that paints one picture with a generator of its own: fields of numbers
seen through a palette (`fields.py`), drawings with Pillow (`drawings.py`), or the user's own pictures taken apart
(`own.py`). One picture is painted at a time, because a batch painted as one array would tie a picture's last bits to
its neighbours. Import the names below from `training.data.procedural` itself.
"""

from training.data.procedural.pictures import FAMILIES, ProceduralPictures

__all__ = ["FAMILIES", "ProceduralPictures"]
