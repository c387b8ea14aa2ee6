"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const option = (value, text) => {
    const element = make("option", "", text);
    element.value = value;
    return element;
  };
  const shown = (value) => (value === null ? "–" : value.toFixed(data.digits));
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(data.digits);
  // Missing numbers go last, whichever way the others are sorted.
  const byNumber = (of, falling) => (one, other) => {
    const a = of(one), b = of(other);
    if (a === null || b === null) return (a === null) - (b === null);
    return falling ? b - a : a - b;
  };

  const theme = byId("theme");
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  nameTheme();

  const classSection = () => {
    const metric = byId("metric"), sort = byId("class-sort"), find = byId("class-find"), more = byId("more");
    const FIRST = 24;
    let all = false;
    const base = data.methods.indexOf(data.baseline);
    const others = data.methods.map((_, index) => index).filter((index) => index !== base);
    Object.keys(data.per_class).forEach((title) => metric.append(option(title, title)));
    sort.append(option("order", "order of the data set"), option("name", "name"));
    others.forEach((i) => {
      sort.append(option(`up:${i}`, `${data.methods[i]} better than ${data.baseline}`));
      sort.append(option(`down:${i}`, `${data.methods[i]} worse than ${data.baseline}`));
    });
    data.methods.forEach((method, i) => {
      sort.append(option(`high:${i}`, `${method}, best first`), option(`low:${i}`, `${method}, worst first`));
    });
    sort.append(option("apart", "largest difference"));

    const spread = (values) => {
      const defined = values.filter((value) => value !== null);
      return defined.length > 1 ? Math.max(...defined) - Math.min(...defined) : null;
    };
    const sorted = (rows) => {
      const [how, i] = sort.value.split(":");
      const minus = ({ values }) =>
        values[i] === null || values[base] === null ? null : values[i] - values[base];
      if (how === "name") return rows.sort((a, b) => a.name.localeCompare(b.name));
      if (how === "apart") return rows.sort(byNumber((row) => spread(row.values), true));
      if (how === "up" || how === "down") return rows.sort(byNumber(minus, how === "up"));
      if (how === "high" || how === "low") return rows.sort(byNumber((row) => row.values[i], how === "high"));
      return rows;
    };
    const bar = (value, index, best, theirs) => {
      const line = make("div", "bar" + (best ? " top-value" : ""));
      const track = make("div", "track"), fill = make("div", `fill m${index % 8}`);
      fill.style.width = `${Math.max(0, Math.min(100, value ?? 0))}%`;
      if (value !== null) track.append(fill);
      line.append(track, make("span", "amount", shown(value)));
      line.title = data.methods[index];
      if (index !== base && value !== null && theirs !== null) line.title += ` ${signed(value - theirs)}`;
      return line;
    };
    const draw = () => {
      const columns = data.per_class[metric.value];
      const words = find.value.trim().toLowerCase();
      const rows = data.classes.map((entry, k) => ({
        ...entry, values: columns.map((column) => (column ? column[k] : null)),
      })).filter((row) => row.values.some((value) => value !== null) && row.name.toLowerCase().includes(words));
      sorted(rows);
      const bars = rows.slice(0, all || words ? rows.length : FIRST).map((row) => {
        const block = make("div", "class"), name = make("div", "name", row.name);
        const kinds = [row.is_thing ? "" : "stuff", row.is_seen === null ? "" : row.is_seen ? "seen" : "unseen"];
        name.append(make("span", "kind", kinds.filter(Boolean).join(", ")));
        const group = make("div"), most = Math.max(...row.values.filter((value) => value !== null));
        const ranked = Boolean(spread(row.values));
        row.values.forEach((value, index) => {
          group.append(bar(value, index, ranked && value === most, row.values[base]));
        });
        block.append(name, group);
        return block;
      });
      byId("bars").replaceChildren(...bars);
      more.hidden = Boolean(words) || rows.length <= FIRST;
      more.textContent = all ? `Show the first ${FIRST}` : `Show all ${rows.length} classes`;
    };
    [metric, sort].forEach((control) => control.addEventListener("change", draw));
    find.addEventListener("input", draw);
    more.addEventListener("click", () => { all = !all; draw(); });
    byId("class-controls").addEventListener("submit", (event) => event.preventDefault());
    sort.value = "apart";
    byId("class-controls").hidden = false;
    draw();
  };

  const pictureSection = () => {
    const list = byId("shots"), sort = byId("shot-sort"), filter = byId("shot-class");
    const articles = [...list.children];
    const NOTHING = -1;
    const tip = make("div");
    tip.id = "tip";
    tip.hidden = true;
    document.body.append(tip);
    const nameOf = (label) => (label === NOTHING ? "no class" : data.classes[label].name);
    const colorOf = (label) => (label === NOTHING ? "transparent" : `rgb(${data.colors[label].join(" ")})`);

    const decoded = new Map();
    const labelsOf = (runs) => {
      if (!decoded.has(runs)) {
        let total = 0;
        for (let i = 1; i < runs.length; i += 2) total += runs[i];
        const labels = new Int16Array(total);
        for (let i = 0, at = 0; i < runs.length; i += 2) labels.fill(runs[i], at, at += runs[i + 1]);
        decoded.set(runs, labels);
      }
      return decoded.get(runs);
    };
    const areas = (runs) => {
      const found = new Map();
      for (let i = 0; i < runs.length; i += 2) found.set(runs[i], (found.get(runs[i]) ?? 0) + runs[i + 1]);
      return found;
    };

    // Everything but one class goes dim; null shows all.
    const light = (article, shot, label) => {
      shot.panels.forEach((runs, p) => {
        const frame = article.querySelector(`[data-panel="${p}"] .frame`);
        frame.querySelector("canvas")?.remove();
        if (label === null) return;
        const canvas = document.createElement("canvas");
        [canvas.height, canvas.width] = shot.map;
        const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
        labelsOf(runs).forEach((value, i) => { image.data[4 * i + 3] = value === label ? 0 : 185; });
        context.putImageData(image, 0, 0);
        frame.append(canvas);
      });
    };
    const legend = (article, shot) => {
      const inTruth = areas(shot.panels[0]), total = new Map();
      shot.panels.forEach((runs) => areas(runs).forEach((area, label) => {
        if (label !== NOTHING) total.set(label, Math.max(total.get(label) ?? 0, area));
      }));
      const order = [...total.keys()].sort((a, b) =>
        (inTruth.get(b) ?? 0) - (inTruth.get(a) ?? 0) || total.get(b) - total.get(a));
      let pinned = null;
      const buttons = order.map((label) => {
        const item = make("li"), button = make("button", inTruth.has(label) ? "" : "absent");
        const swatch = make("i");
        swatch.style.background = colorOf(label);
        button.type = "button";
        button.title = inTruth.has(label) ? "show only this class" : "not in the truth; show only this class";
        button.setAttribute("aria-pressed", "false");
        button.append(swatch, document.createTextNode(nameOf(label)));
        button.addEventListener("pointerenter", () => light(article, shot, label));
        button.addEventListener("pointerleave", () => light(article, shot, pinned));
        button.addEventListener("click", () => {
          pinned = pinned === label ? null : label;
          article.querySelectorAll(".legend button").forEach((other) => other.setAttribute("aria-pressed", "false"));
          button.setAttribute("aria-pressed", String(pinned === label));
          light(article, shot, pinned);
        });
        item.append(button);
        return item;
      });
      article.querySelector(".legend").replaceChildren(...buttons);
    };
    const pointer = (article, shot) => {
      article.querySelectorAll("[data-panel] .frame").forEach((frame) => {
        const runs = shot.panels[Number(frame.parentElement.dataset.panel)];
        frame.addEventListener("pointermove", (event) => {
          const box = frame.getBoundingClientRect(), [height, width] = shot.map;
          const row = Math.min(height - 1, Math.floor((event.clientY - box.top) / box.height * height));
          const column = Math.min(width - 1, Math.floor((event.clientX - box.left) / box.width * width));
          tip.textContent = nameOf(labelsOf(runs)[Math.max(0, row) * width + Math.max(0, column)]);
          tip.hidden = false;
          tip.style.left = `${Math.max(0, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
          tip.style.top = `${event.clientY + 18}px`;
        });
        frame.addEventListener("pointerleave", () => { tip.hidden = true; });
      });
    };

    const titles = [...new Set(data.shots.flatMap((shot) => shot.scores.flatMap((scores) => Object.keys(scores))))];
    sort.append(option("apart", "disagreement, most first"), option("order", "name"));
    data.shown.forEach((method, i) => titles.forEach((title) => {
      if (!data.shots.some((shot) => title in shot.scores[i])) return;
      sort.append(option(`low:${i}:${title}`, `${title} of ${method}, worst first`));
      sort.append(option(`high:${i}:${title}`, `${title} of ${method}, best first`));
    }));
    if (data.shown.length < 2) sort.querySelector('[value="apart"]').remove();
    const present = new Map();
    data.shots.forEach((shot) => {
      new Set(shot.panels.flatMap((runs) => [...areas(runs).keys()])).forEach((label) => {
        if (label !== NOTHING) present.set(label, (present.get(label) ?? 0) + 1);
      });
    });
    filter.append(option("", "all"));
    [...present.keys()].sort((a, b) => nameOf(a).localeCompare(nameOf(b))).forEach((label) => {
      filter.append(option(String(label), `${nameOf(label)} (${present.get(label)})`));
    });

    const arrange = () => {
      const [how, i, ...rest] = sort.value.split(":"), title = rest.join(":");
      const order = data.shots.map((_, index) => index);
      if (how === "apart") order.sort(byNumber((index) => data.shots[index].apart, true));
      else if (how === "order") order.sort((a, b) => data.shots[a].key.localeCompare(data.shots[b].key));
      else order.sort(byNumber((index) => data.shots[index].scores[i][title] ?? null, how === "high"));
      const wanted = filter.value === "" ? null : Number(filter.value);
      let count = 0;
      order.forEach((index) => {
        const has = wanted === null || data.shots[index].panels.some((runs) => areas(runs).has(wanted));
        articles[index].hidden = !has;
        count += has;
        list.append(articles[index]);
      });
      byId("no-shot").hidden = count > 0;
      byId("shot-count").textContent = count === 1 ? "1 picture" : `${count} pictures`;
    };
    [sort, filter].forEach((control) => control.addEventListener("change", arrange));
    byId("shot-controls").addEventListener("submit", (event) => event.preventDefault());
    byId("shot-controls").hidden = false;
    data.shots.forEach((shot, index) => { legend(articles[index], shot); pointer(articles[index], shot); });
    arrange();
  };

  if (byId("bars")) classSection();
  if (byId("shots")) pictureSection();
})();
