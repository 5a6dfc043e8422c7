"use strict";
// Plays series, takes scores by key or click, keeps them in this browser where it may, and saves them as a CSV file.
(function () {
  const study = JSON.parse(document.getElementById("study").textContent);
  const items = study.items; // in this reader's order: code, kind, data
  const kept = "reading-" + study.kit + "-" + study.reader;
  const columns = ["kit", "reader", "position", "code", "criterion", "score", "seconds"];
  const byId = (name) => document.getElementById(name);
  const scores = new Map(items.map((item) => [item.code, {}]));
  const seconds = new Map(items.map((item) => [item.code, 0]));
  const loaded = new Map(); // series that are decoded; only near ones are held
  let at = 0, criterion = 0, frame = 0, playing = true, slow = false, view = 0, shown = null, unsaved = false, elapsed = 0, last = 0;

  const item = () => items[at];
  const asked = () => study.kinds[item().kind].criteria;
  const isDone = (one) => study.kinds[one.kind].criteria.every((c) => scores.get(one.code)[c.name]);
  const nDone = () => items.filter(isDone).length;

  // pictures
  function series(index) {
    const id = items[index].data;
    if (!loaded.has(id)) {
      const data = JSON.parse(byId(id).textContent);
      loaded.set(id, Promise.all(data.panels.map(async (panel) => {
        const image = new Image();
        image.src = panel.src;
        await image.decode();
        // cut apart, because a smoothed part of a sprite takes in what lies beside it
        return Promise.all(Array.from({ length: data.frames }, (_, f) => createImageBitmap(
          image, f % panel.columns * panel.width, Math.floor(f / panel.columns) * panel.height, panel.width, panel.height)));
      })).then((frames) => ({ data: data, frames: frames })));
    }
    return loaded.get(id);
  }
  async function open(index) {
    at = Math.max(0, Math.min(items.length - 1, index));
    const wanted = at;
    shown = null;
    frame = elapsed = criterion = view = 0;
    playing = true;
    refresh();
    const found = await series(wanted);
    if (wanted !== at) { return; }
    shown = found;
    byId("panels").replaceChildren(...found.data.panels.map((panel, i) => {
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", found.data.panels.length > 1 ? "Slice " + (i + 1) : "Slice");
      return canvas;
    }));
    const scale = study.kinds[item().kind].scale;
    byId("scale").hidden = !scale;
    if (scale) {
      byId("scale-bar").src = scale.src;
      byId("scale-low").textContent = scale.low;
      byId("scale-high").textContent = scale.high;
    }
    refresh();
    layOut();
    document.body.dataset.ready = items[wanted].code;
    if (wanted + 1 < items.length) { series(wanted + 1); }
    const near = new Set([wanted - 1, wanted, wanted + 1].filter((i) => items[i]).map((i) => items[i].data));
    Array.from(loaded.keys()).forEach((id) => { if (!near.has(id)) { loaded.delete(id); } });
  }
  function layOut() {
    if (!shown) { return; }
    const panels = shown.data.panels;
    const some = panels.map((panel, i) => view === 0 || view === i + 1);
    const n = some.filter(Boolean).length;
    const box = byId("panels"), ratio = devicePixelRatio || 1;
    const width = (box.clientWidth - 6 * (n - 1)) / n, height = box.clientHeight || 480;
    Array.from(box.children).forEach((canvas, i) => {
      const panel = panels[i], shape = panel.width * panel.aspect / panel.height;
      const w = Math.max(1, Math.floor(Math.min(width, height * shape))), h = Math.max(1, Math.floor(w / shape));
      canvas.hidden = !some[i];
      canvas.style.width = w + "px";
      canvas.style.height = h + "px";
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
    });
    draw();
  }
  function draw() {
    if (!shown) { return; }
    Array.from(byId("panels").children).forEach((canvas, i) => {
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      context.drawImage(shown.frames[i][frame], 0, 0, canvas.width, canvas.height);
    });
    byId("frame").textContent = shown.data.frames > 1 ? "frame " + (frame + 1) + " of " + shown.data.frames : "";
  }
  function step(by) {
    if (!shown || shown.data.frames < 2) { return; }
    playing = false;
    frame = (frame + by + shown.data.frames) % shown.data.frames;
    draw();
    refresh();
  }
  function tick(now) {
    const passed = Math.min(now - last, 250) / 1000; // a page in the background stands still
    last = now;
    if (!document.hidden && !byId("instructions").open) { seconds.set(item().code, seconds.get(item().code) + passed); }
    if (shown && playing && shown.data.frames > 1) {
      elapsed += passed / (slow ? 2 : 1);
      const next = Math.floor(elapsed / shown.data.frame_s) % shown.data.frames;
      if (next !== frame) { frame = next; draw(); }
    }
    requestAnimationFrame(tick);
  }

  // scores
  function score(name, value) {
    scores.get(item().code)[name] = value;
    unsaved = true;
    const next = asked().findIndex((c) => !scores.get(item().code)[c.name]);
    if (next >= 0) { criterion = next; }
    keep();
    refresh();
  }
  function keep() {
    try {
      localStorage.setItem(kept, JSON.stringify({ scores: Array.from(scores), seconds: Array.from(seconds) }));
      byId("kept").textContent = "";
    } catch (problem) {
      byId("kept").textContent = "This browser keeps nothing: save the file before you close the page.";
    }
  }
  function recall() {
    try {
      const found = JSON.parse(localStorage.getItem(kept) || "null");
      if (!found) { return; }
      found.scores.forEach(([code, given]) => { if (scores.has(code)) { scores.set(code, given); } });
      found.seconds.forEach(([code, value]) => { if (seconds.has(code)) { seconds.set(code, value); } });
      unsaved = nDone() > 0;
    } catch (problem) {
      byId("kept").textContent = "This browser keeps nothing: save the file before you close the page.";
    }
  }
  function csv() {
    const rows = [columns];
    items.forEach((one, i) => study.kinds[one.kind].criteria.forEach((c) => rows.push(
      [study.kit, study.reader, i + 1, one.code, c.name, scores.get(one.code)[c.name] || "", Math.round(seconds.get(one.code))])));
    return rows.map((row) => row.join(",")).join("\r\n") + "\r\n";
  }
  function save() {
    const link = document.createElement("a");
    const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.href = address;
    link.download = "scores_" + study.kit + "_" + study.reader + ".csv";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    unsaved = false;
    keep();
    byId("kept").textContent = nDone() === items.length ? "Saved, complete." : "Saved; " + (items.length - nDone()) + " series are still open.";
  }
  async function load(file) {
    const lines = (await file.text()).replace(/^\uFEFF/, "").split(/\r?\n/).filter(Boolean).map((line) => line.split(","));
    const head = lines.shift() || [];
    const own = lines.filter((row) => row[0] === study.kit && row[1] === study.reader && scores.has(row[3]));
    if (head.join() !== columns.join() || !own.length) {
      byId("kept").textContent = "Not loaded: this is no file of scores saved from this page.";
      return;
    }
    own.forEach(([, , , code, name, value, spent]) => {
      if (/^[1-5]$/.test(value)) { scores.get(code)[name] = Number(value); }
      seconds.set(code, Math.max(seconds.get(code), Number(spent) || 0));
    });
    keep();
    open(firstOpen());
    byId("kept").textContent = "Loaded.";
  }
  function firstOpen() {
    const found = items.findIndex((one) => !isDone(one));
    return found < 0 ? items.length - 1 : found;
  }

  // what is seen beside the pictures
  function element(name, text, attributes) {
    const made = document.createElement(name);
    made.textContent = text;
    Object.entries(attributes || {}).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  }
  function refresh() {
    const given = scores.get(item().code), now = asked()[criterion], all = nDone();
    byId("place").textContent = "Series " + (at + 1) + " of " + items.length + " · " + study.kinds[item().kind].title;
    byId("done").value = all;
    byId("counted").textContent = all + " of " + items.length + " scored";
    byId("asked").textContent = now.question;
    byId("criteria").replaceChildren(...asked().map((c, i) => {
      const box = element("div", "", { class: "criterion" + (i === criterion ? " active" : "") + (given[c.name] ? " scored" : ""), role: "group", "aria-label": c.title });
      const title = element("h2", "");
      const choose = element("button", c.title, { type: "button" });
      choose.addEventListener("click", () => { criterion = i; refresh(); });
      title.append(choose);
      const values = element("div", "", { class: "values" });
      study.scale.forEach((word, k) => {
        const button = element("button", String(k + 1), { type: "button", "aria-pressed": String(given[c.name] === k + 1), title: word, "aria-label": (k + 1) + " " + word });
        button.addEventListener("click", () => score(c.name, k + 1));
        values.append(button);
      });
      box.append(title, values);
      return box;
    }));
    byId("anchors").replaceChildren(...now.anchors.map((words, i) => {
      const line = element("li", "", { class: given[now.name] === i + 1 ? "chosen" : "" });
      line.append(element("strong", study.scale[i]), ": " + words);
      return line;
    }));
    const complete = all === items.length;
    byId("next-step").textContent = complete ? "All series are scored. Save the file." : isDone(item()) ? "Scored. Press n for the next." : "";
    byId("next").classList.toggle("ready", isDone(item()) && !complete);
    byId("save").classList.toggle("ready", complete);
    byId("previous").disabled = at === 0;
    byId("next").disabled = at === items.length - 1;
    const moving = !shown || shown.data.frames > 1;
    ["play", "back", "forth", "slow"].forEach((name) => { byId(name).hidden = !moving; });
    byId("view").hidden = !shown || shown.data.panels.length < 2;
    byId("play").textContent = playing ? "Pause" : "Play";
    byId("slow").setAttribute("aria-pressed", String(slow));
    byId("view").textContent = "View: " + (view ? "slice " + view : "all");
  }
  function play() {
    playing = !playing;
    if (shown) { elapsed = frame * shown.data.frame_s; }
    refresh();
  }

  const actions = {
    " ": play,
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    ArrowUp: () => { criterion = Math.max(0, criterion - 1); refresh(); },
    ArrowDown: () => { criterion = Math.min(asked().length - 1, criterion + 1); refresh(); },
    n: () => { if (at < items.length - 1) { open(at + 1); } },
    p: () => { if (at > 0) { open(at - 1); } },
    u: () => open(firstOpen()),
    s: () => { slow = !slow; if (shown) { elapsed = frame * shown.data.frame_s; } refresh(); },
    v: () => { if (shown) { view = (view + 1) % (shown.data.panels.length + 1); if (shown.data.panels.length < 2) { view = 0; } layOut(); refresh(); } },
    h: () => byId("instructions").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (byId("instructions").open && event.key === "Enter") {
      byId("instructions").close();
      event.preventDefault();
      return;
    }
    if (byId("instructions").open || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (/^[1-5]$/.test(event.key)) {
      if (!event.repeat && shown) { score(asked()[criterion].name, Number(event.key)); } // nothing is scored unseen
      event.preventDefault();
    } else if (actions[event.key]) {
      if (event.repeat && !event.key.startsWith("Arrow")) { return; }
      actions[event.key]();
      event.preventDefault();
    }
  });
  const clicks = { play: play, back: () => step(-1), forth: () => step(1), slow: actions.s, view: actions.v, previous: actions.p, next: actions.n, "open-one": actions.u, save: save, help: actions.h, start: () => byId("instructions").close() };
  Object.entries(clicks).forEach(([name, act]) => byId(name).addEventListener("click", (event) => { act(); event.currentTarget.blur(); }));
  byId("load").addEventListener("change", (event) => { if (event.target.files.length) { load(event.target.files[0]); event.target.value = ""; } });
  addEventListener("resize", layOut);
  addEventListener("beforeunload", (event) => { if (unsaved) { keep(); event.preventDefault(); } });
  addEventListener("visibilitychange", () => { if (document.hidden && unsaved) { keep(); } });

  recall();
  open(firstOpen());
  byId("instructions").showModal();
  requestAnimationFrame((now) => { last = now; tick(now); });
}());
