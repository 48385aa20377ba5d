"use strict";
// The map of `geomind convert --map`: plain canvas, no library, no request. Coordinates are those of the projected world,
// in which Python placed everything; `view` says which of them is in the middle and how many pixels a unit has.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const photos = data.photos, count = photos.name.length;
  const canvas = document.getElementById("map"), context = canvas.getContext("2d");
  const details = document.getElementById("details"), list = document.getElementById("list");
  const search = document.getElementById("search"), lineBox = document.getElementById("lines");
  const LARGEST_SCALE = 8, CELL = 44, FEW = 3, SINGLY = 400, LISTED = 100, REACH = 14;
  const view = { x: data.width / 2, y: data.height / 2, scale: 0.01 };
  let smallestScale = 0.01, selected = -1, drawn = [], groups = { level: null, all: [] }, colours = {}, waiting = false;

  // ── what is drawn ──
  const outline = (lines, closed) => {
    const path = new Path2D();
    for (const line of lines) {
      path.moveTo(line[0], line[1]);
      for (let i = 2; i < line.length; i += 2) path.lineTo(line[i], line[i + 1]);
      if (closed) path.closePath();
    }
    return path;
  };
  const globe = outline([data.edge], true), land = outline(data.land, true);
  const borders = outline(data.borders, false), graticule = outline(data.graticule, false);
  const located = [];
  for (let i = 0; i < count; i++) if (photos.x[i] !== null) located.push(i);
  const allLines = outline(Object.values(data.lines).flat(), false);

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["page", "ink", "sea", "land", "border", "graticule", "accent", "on-accent", "halo", "faint",
      "band-0", "band-1", "band-2", "band-3"]) colours[name] = style.getPropertyValue("--" + name).trim();
  }

  function colourOf(i) {
    const km = photos.distance ? photos.distance[i] : null;
    return km === null ? colours.accent : colours["band-" + data.bands.findIndex((limit) => limit === null || km <= limit)];
  }

  // Photos of one square of the map become one bubble, which takes in those of its neighbours that would overlap it. The
  // squares are fixed to the map and change with every doubling of the scale, so that nothing flickers while it is moved.
  function grouped() {
    const level = Math.floor(Math.log2(view.scale));
    if (groups.level !== level) groups = { level, all: located.length <= SINGLY ? located.map(alone) : clusters(CELL / 2 ** level) };
    return groups.all;
  }

  const alone = (i) => ({ x: photos.x[i], y: photos.y[i], members: [i] });

  function clusters(cell) {
    const squares = new Map(), ROW = 1e7;
    for (const i of located) {
      const key = Math.floor(photos.x[i] / cell) * ROW + Math.floor(photos.y[i] / cell);
      const square = squares.get(key);
      if (square === undefined) squares.set(key, { key, x: photos.x[i], y: photos.y[i], members: [i] });
      else {
        square.x += photos.x[i];
        square.y += photos.y[i];
        square.members.push(i);
      }
    }
    const largestFirst = [...squares.values()].sort((a, b) => b.members.length - a.members.length);
    for (const square of largestFirst) {
      square.x /= square.members.length;
      square.y /= square.members.length;
    }
    const all = [];
    for (const square of largestFirst) {
      if (!squares.delete(square.key)) continue;
      if (square.members.length > FEW) {
        for (const step of [-ROW - 1, -ROW, -ROW + 1, -1, 1, ROW - 1, ROW, ROW + 1]) {
          const other = squares.get(square.key + step);
          if (other && Math.hypot(other.x - square.x, other.y - square.y) < 0.8 * cell) {
            for (const i of other.members) square.members.push(i);
            squares.delete(other.key);
          }
        }
        all.push(square);
      } else for (const i of square.members) all.push(alone(i));
    }
    return all;
  }

  const across = (x) => (x - view.x) * view.scale + canvas.clientWidth / 2;
  const down = (y) => (y - view.y) * view.scale + canvas.clientHeight / 2;

  function dot(x, y, radius, fill) {
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.fillStyle = fill;
    context.fill();
    context.strokeStyle = colours.halo;
    context.lineWidth = 1;
    context.stroke();
  }

  function draw() {
    waiting = false;
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const scale = view.scale * ratio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = colours.page;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, (width / 2) * ratio - view.x * scale, (height / 2) * ratio - view.y * scale);
    const stroke = (path, colour, pixels, alpha = 1) => {
      context.globalAlpha = alpha;
      context.strokeStyle = colour;
      context.lineWidth = pixels / view.scale;
      context.stroke(path);
      context.globalAlpha = 1;
    };
    context.fillStyle = colours.sea;
    context.fill(globe);
    stroke(graticule, colours.graticule, 0.8);
    context.fillStyle = colours.land;
    context.fill(land);
    stroke(borders, colours.border, 0.7);
    if (lineBox && lineBox.checked) stroke(allLines, colours.faint, 1, 0.35);
    if (selected >= 0 && data.lines[selected]) stroke(outline(data.lines[selected], false), colours.ink, 1.8);

    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.textAlign = "center";
    context.textBaseline = "middle";
    drawn = [];
    for (const group of grouped()) {
      const x = across(group.x), y = down(group.y), size = group.members.length;
      if (x < -40 || y < -40 || x > width + 40 || y > height + 40) continue;
      const radius = size === 1 ? (located.length > SINGLY ? 3.6 : 4.6) : 8 + 2.7 * Math.log10(size) ** 1.3;
      drawn.push({ x, y, radius, members: group.members });
    }
    for (const each of drawn) if (each.members.length === 1) dot(each.x, each.y, each.radius, colourOf(each.members[0]));
    context.font = "600 11px system-ui, sans-serif";
    for (const { x, y, radius, members } of drawn) {
      if (members.length === 1) continue;
      context.globalAlpha = 0.88;
      dot(x, y, radius, colours.accent);
      context.globalAlpha = 1;
      context.fillStyle = colours["on-accent"];
      const size = members.length;
      context.fillText(size < 1000 ? size : size < 10000 ? (size / 1000).toFixed(1) + "k" : Math.round(size / 1000) + "k", x, y + 0.5);
    }
    if (selected >= 0 && photos.x[selected] !== null) {
      if (photos.trueX && photos.trueX[selected] !== null) dot(across(photos.trueX[selected]), down(photos.trueY[selected]), 5, colours.ink);
      const x = across(photos.x[selected]), y = down(photos.y[selected]);
      dot(x, y, 6.5, colourOf(selected));
      context.beginPath();
      context.arc(x, y, 10, 0, 7);
      context.strokeStyle = colours.ink;
      context.lineWidth = 2;
      context.stroke();
    }
  }

  function redraw() {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(draw);
    }
  }

  // ── moving about ──
  function clamp() {
    view.scale = Math.min(LARGEST_SCALE, Math.max(smallestScale, view.scale));
    view.x = Math.min(data.width, Math.max(0, view.x));
    view.y = Math.min(data.height, Math.max(0, view.y));
  }
  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const before = view.scale, dx = x - canvas.clientWidth / 2, dy = y - canvas.clientHeight / 2;
    view.scale *= factor;
    clamp();
    view.x += dx / before - dx / view.scale;
    view.y += dy / before - dy / view.scale;
    clamp();
    redraw();
  }
  function move(dx, dy) {
    view.x -= dx / view.scale;
    view.y -= dy / view.scale;
    clamp();
    redraw();
  }
  function home() {
    view.x = data.width / 2;
    view.y = data.height / 2;
    view.scale = smallestScale;
    redraw();
  }
  function fit() {
    const whole = view.scale <= smallestScale * 1.001;
    smallestScale = 0.97 * Math.min(canvas.clientWidth / data.width, canvas.clientHeight / data.height);
    if (whole) home();
    else redraw();
  }

  const pointers = new Map();
  let moved = 0, spread = 0;
  const middle = () => {
    const all = [...pointers.values()];
    return [all.reduce((sum, each) => sum + each[0], 0) / all.length, all.reduce((sum, each) => sum + each[1], 0) / all.length];
  };
  const apart = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (pointers.size === 1) moved = 0;
    if (pointers.size === 2) spread = apart();
    canvas.classList.add("moving");
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = middle();
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    const [x, y] = middle();
    moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
    move(x - before[0], y - before[1]);
    if (pointers.size === 2) {
      const now = apart();
      moved += Math.abs(now - spread);
      zoom(now / (spread || now || 1), x, y);
      spread = now;
    }
  });
  const lift = (event) => {
    if (event.type === "pointerup" && pointers.size === 1 && moved < 6) pick(event.offsetX, event.offsetY);
    pointers.delete(event.pointerId);
    if (pointers.size === 2) spread = apart();
    if (!pointers.size) canvas.classList.remove("moving");
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * 0.0022), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = 70, keys = {
      ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: home,
    };
    if (keys[event.key] && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") select(-1); });
  document.getElementById("in").addEventListener("click", () => zoom(1.6));
  document.getElementById("out").addEventListener("click", () => zoom(1 / 1.6));
  document.getElementById("home").addEventListener("click", home);
  if (lineBox) lineBox.addEventListener("change", redraw);

  function pick(x, y) {
    const near = drawn.map((each) => [Math.hypot(each.x - x, each.y - y) - (each.members.length > 1 ? each.radius - 4 : 0), each])
      .filter(([distance]) => distance < REACH).sort((a, b) => a[0] - b[0]);
    if (!near.length) return select(-1);
    const group = near[0][1];
    if (group.members.length === 1) {
      select(group.members[0]);
      const same = near.map(([, each]) => each).filter((each) => each.members.length === 1 && Math.hypot(each.x - group.x, each.y - group.y) < 2);
      if (same.length > 1) show(same.map((each) => each.members[0]), same.length + " photos here");
      return;
    }
    if (view.scale < LARGEST_SCALE * 0.99) zoom(2.5, group.x, group.y);
    show(group.members, group.members.length.toLocaleString("en") + " photos here");
  }

  // ── the list and the card ──
  const make = (tag, text, parent, className) => {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    if (className) element.className = className;
    if (parent) parent.append(element);
    return element;
  };
  const placeName = (i) => [photos.city[i], data.countries[photos.country[i]]].filter(Boolean).join(", ");
  const km = (distance) => (distance < 10 ? distance.toFixed(1) : Math.round(distance).toLocaleString("en")) + " km";

  function show(indices, heading) {
    list.replaceChildren();
    if (heading) make("li", heading, list, "more");
    for (const i of indices.slice(0, LISTED)) {
      const button = make("button", photos.name[i], make("li", "", list));
      button.type = "button";
      button.dataset.photo = i;
      button.setAttribute("aria-current", i === selected);
      make("small", photos.x[i] === null ? "no place" : placeName(i) || data.regions[photos.region[i]] || "", button);
      button.addEventListener("click", () => { select(i); if (photos.x[i] !== null) centre(i); });
    }
    if (indices.length > LISTED) make("li", `… and ${(indices.length - LISTED).toLocaleString("en")} more: search for a name or a place`, list, "more");
    if (!indices.length) make("li", "No photo is called so.", list, "more");
  }

  function centre(i) {
    view.x = photos.x[i];
    view.y = photos.y[i];
    view.scale = Math.max(view.scale, 4 * smallestScale);
    clamp();
    redraw();
  }

  function select(i) {
    selected = i;
    for (const button of list.querySelectorAll("button")) button.setAttribute("aria-current", Number(button.dataset.photo) === i);
    details.replaceChildren();
    details.hidden = i < 0;
    redraw();
    if (i < 0) return;
    const close = make("button", "×", details, "close");
    close.type = "button";
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", () => select(-1));
    if (data.thumbnails[i]) {
      const image = make("img", "", details);
      image.src = data.thumbnails[i];
      image.alt = "";
    }
    make("h2", photos.name[i], details);
    const facts = make("dl", "", details);
    const fact = (what, text, className) => {
      if (text) { make("dt", what, facts); make("dd", text, facts, className); }
    };
    fact("Place", placeName(i));
    const share = photos.probability[i];
    fact("Region", photos.region[i] === null ? "" : data.regions[photos.region[i]] + (share === null ? "" : ` (${Math.round(share * 100)}%)`));
    if (photos.x[i] !== null) fact("Position", `${photos.latitude[i].toFixed(5)}, ${photos.longitude[i].toFixed(5)}`);
    if (photos.radius[i] !== null) fact("90% within", km(photos.radius[i]));
    if (photos.distance && photos.distance[i] !== null) fact("Truth is", km(photos.distance[i]) + " away");
    fact("Note", photos.error[i], "error");
    if (photos.x[i] !== null) {
      const link = make("a", "Google Maps", details);
      link.href = `https://www.google.com/maps?q=${photos.latitude[i].toFixed(6)},${photos.longitude[i].toFixed(6)}`;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
    }
  }

  const everything = Array.from({ length: count }, (_, i) => i);
  let pause;
  search.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => {
      const words = search.value.trim().toLowerCase();
      show(words ? everything.filter((i) => (photos.name[i] + " " + placeName(i) + " " + (data.regions[photos.region[i]] || "")).toLowerCase().includes(words)) : everything);
    }, 120);
  });

  readColours();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
  new ResizeObserver(fit).observe(canvas);
  show(everything);
  fit();
})();
