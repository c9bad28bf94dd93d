"""What tests ask of a page in a browser, in JavaScript."""

# of every element with text of its own: the text, its colour and that of the ground (three numbers to 255), its size
COLOURS_OF_TEXT = r"""() => {
    const numbers = (colour) => (colour.match(/[\d.]+/g) || []).map(Number).map(
        (each, k) => (colour.startsWith("color(") && k < 3 ? 255 * each : each));
    const ground = (each) => {
        const own = numbers(getComputedStyle(each).backgroundColor);
        return own.length && own[3] !== 0 ? own : each.parentElement ? ground(each.parentElement) : [255, 255, 255];
    };
    const seen = (each) => each.checkVisibility({ visibilityProperty: true });
    const drawn = (each) => !each.closest("svg, script, noscript") && seen(each);
    const worded = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    return [...document.querySelectorAll("body *")].filter(drawn).filter(worded).map((each) => {
        const style = getComputedStyle(each), colours = [numbers(style.color), ground(each)];
        const whole = colours.map((colour) => colour.slice(0, 3).map(Math.round));
        return [each.textContent.trim().slice(0, 40), whole, parseFloat(style.fontSize)];
    });
}"""

# what can be used or looked at, but has no name for those who hear the page
NAMELESS = """() => [...document.querySelectorAll("button, #view, a, body svg, [role=region], img")]
    .filter((each) => each.checkVisibility({ visibilityProperty: true }))
    .filter((each) => !(each.alt || each.textContent.trim() || each.getAttribute("aria-label")))
    .map((each) => each.outerHTML)"""

# the picture below the timeline: its words, where it is, and how light it is
PICTURE = """() => {
    const frame = document.getElementById("peek"), picture = frame.querySelector("img");
    const [box, view] = [frame, document.getElementById("view")].map((each) => each.getBoundingClientRect());
    const pen = document.createElement("canvas").getContext("2d");
    pen.drawImage(picture, 0, 0);
    return {
        words: frame.textContent, middle: (box.left + box.right) / 2 - view.left, wide: view.width,
        below: box.top >= view.bottom - 1, tall: picture.naturalHeight, grey: pen.getImageData(20, 20, 1, 1).data[0],
    };
}"""
