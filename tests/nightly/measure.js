// Looks at the framed report as a reader would, and writes down what cannot be read.
const frame = document.querySelector('iframe');

function look() {
  const page = frame.contentDocument, root = page.documentElement, wrong = [];
  const height = root.scrollHeight;
  page.querySelectorAll('details').forEach(details => { details.open = true; });
  const client = root.clientWidth;
  const say = (what, element) => wrong.push(`${what}: ${element.className || element.tagName} "${element.textContent.trim().slice(0, 60)}"`);

  // Colours may be written in any way; a canvas knows them all.
  const brush = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const pixel = colour => { brush.clearRect(0, 0, 1, 1); brush.fillStyle = colour; brush.fillRect(0, 0, 1, 1); return [...brush.getImageData(0, 0, 1, 1).data]; };
  const light = colour => {
    const [r, g, b] = colour.map(value => value / 255).map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = pixel(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };

  for (const element of page.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    // A head that only screen readers get.
    if (!own || box.width === 0 || element.closest('thead') && getComputedStyle(element.closest('thead')).position === 'absolute') continue;
    if (box.right > client + 0.5 || box.left < -0.5) say('outside of the page', element);
    if (parseFloat(style.fontSize) < 11.5) say(`only ${style.fontSize}`, element);
    if (style.display !== 'inline' && element.scrollWidth > element.clientWidth + 1) say('cut off', element);
    const [one, two] = [light(pixel(style.color)), light(behind(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < 4.5) say(`contrast ${contrast.toFixed(1)}`, element);
  }

  const visible = selector => [...page.querySelectorAll(selector)].filter(element => element.getBoundingClientRect().width > 0);
  const marks = visible('.axis span');
  marks.slice(1).forEach((mark, before) => {
    if (mark.getBoundingClientRect().left < marks[before].getBoundingClientRect().right) say('overlaps', mark);
  });
  const labels = visible('.bar b');
  for (const label of labels) {
    if (label.getBoundingClientRect().width > label.parentElement.getBoundingClientRect().width + 0.5) say('cut off', label);
  }
  for (const track of visible('.track')) {
    const boxes = [...track.children].map(bar => bar.getBoundingClientRect()).sort((a, b) => a.top - b.top || a.left - b.left);
    // Shorter than its least width: touching is all that can be seen of it.
    boxes.slice(1).forEach((box, before) => {
      if (box.top === boxes[before].top && box.left < boxes[before].right - 2.5) wrong.push(`bars lie on each other in ${track.previousElementSibling.textContent}`);
    });
  }
  document.getElementById('measured').textContent = JSON.stringify({
    client, scroll: root.scrollWidth, height, bars: visible('.bar').length,
    critical: visible('.bar.crit').length, labels: labels.length, wrong,
  });
}

// The frame is whole before this window is.
window.addEventListener('load', look);
