// The picture under the cursor: the stored one that is nearest in time, below the timeline.
const Pictures = (() => {
  const frame = document.getElementById("peek"), picture = frame.querySelector("img"), words = frame.querySelector("figcaption");
  const { lastAt, timeText } = Timeline;
  let shown = null;

  function nearest(pictures, at) {
    const before = lastAt(pictures.map((each) => each.seconds), at), after = Math.min(before + 1, pictures.length - 1);
    return at - pictures[before].seconds <= pictures[after].seconds - at ? pictures[before] : pictures[after];
  }

  // `x` is the place of `at` in pixels from the left edge of the timeline, which is `width` wide.
  function show(recording, at, x, width) {
    const { pictures } = recording, found = pictures.length ? nearest(pictures, at) : null;
    frame.classList.toggle("empty", !found);
    if (found !== shown) {
      shown = found;
      if (found) {
        picture.src = found.src;
        words.textContent = picture.alt = `frame at ${timeText(found.seconds)}`;
      }
    }
    const room = Math.max(0, width - frame.clientWidth);
    frame.style.transform = `translateX(${Math.round(Math.min(Math.max(0, x - frame.clientWidth / 2), room))}px)`;
  }

  return { show };
})();
