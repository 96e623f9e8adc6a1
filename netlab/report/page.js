"use strict";
// A line at the pointer's time, in every drawing that shows this time.
const drawings = Array.from(document.querySelectorAll("svg.lanes"), function (svg) {
  const line = document.createElementNS(svg.namespaceURI, "line");
  line.setAttribute("class", "cursor");
  line.setAttribute("y1", 0);
  line.setAttribute("y2", svg.viewBox.baseVal.height);
  line.setAttribute("visibility", "hidden");
  svg.append(line);
  const d = svg.dataset;
  return { svg, line, from: +d.from, to: +d.to, left: +d.left, right: +d.right };
});
const clock = document.getElementById("clock");
function show(at) {
  clock.textContent = (at / 1e9).toFixed(6) + " s";
  drawings.forEach(function (d) {
    const share = (at - d.from) / (d.to - d.from);
    const x = d.left + share * (d.right - d.left);
    const inside = Math.min(share, 1 - share) >= 0;
    d.line.setAttribute("x1", x);
    d.line.setAttribute("x2", x);
    d.line.setAttribute("visibility", inside ? "visible" : "hidden");
  });
}
drawings.forEach(function (d) {
  d.svg.addEventListener("pointermove", function (e) {
    const box = d.svg.getBoundingClientRect();
    const x = (e.clientX - box.left) / box.width * d.svg.viewBox.baseVal.width;
    const share = Math.min(Math.max((x - d.left) / (d.right - d.left), 0), 1);
    show(d.from + share * (d.to - d.from));
  });
});
