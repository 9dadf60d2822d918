"""The rule that data modules and the gallery share."""

from contextblip.candidate_order import candidate_number, sort_candidates


def test_images_are_ordered_by_number() -> None:
    names = [
        "img113.jpg",
        "img9.jpg",
        "img27.jpeg",
        "Thumbs.db",
        "img1.txt",
        "img100.JPG",
        "._img3.jpg",
        "img5.png",
    ]
    assert sort_candidates(names) == ["img5.png", "img9.jpg", "img27.jpeg", "img100.JPG", "img113.jpg"]


def test_other_names_have_no_number() -> None:
    names = ["img.jpg", "img1.jpg.part", "image1.jpg", "img-1.jpg", "img1.gif", "img١.jpg"]
    assert [candidate_number(name) for name in names] == [None] * 6
    assert [candidate_number(name) for name in ("img0.jpg", "IMG012.PNG")] == [0, 12]
