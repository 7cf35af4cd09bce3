// What makes the pages quicker to use; they work without.
"use strict";

// Times in the reader's own zone.
for (const t of document.querySelectorAll("time[datetime]")) {
  const at = new Date(t.dateTime);
  t.title = t.textContent;
  t.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

// Where the menu lies in one line, what is here is in sight.
const line = document.querySelector(".side nav"), current = line?.querySelector("[aria-current]");
const centre = () => current && (line.scrollLeft = current.offsetLeft - (line.clientWidth - current.offsetWidth) / 2);
addEventListener("resize", centre);
centre();

// A button that copies what is to be copied.
for (const e of document.querySelectorAll("[data-copy]")) {
  const text = [...(e.children.length ? e.children : [e])].map((c) => c.textContent).join("\n").trim();
  const b = document.createElement("button");
  b.type = "button";
  b.className = "copy";
  b.textContent = "Copy";
  b.setAttribute("aria-label", "Copy " + (e.closest("dd")?.previousElementSibling?.textContent ?? ""));
  b.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    b.textContent = "Copied";
    setTimeout(() => (b.textContent = "Copy"), 1500);
  });
  e.after(b);
}

for (const e of document.querySelectorAll("[data-submit]")) e.addEventListener("change", () => e.form.requestSubmit());

// One click is one request: a form that is on its way is not sent again.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
}
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((f) => delete f.dataset.sent));

// The keyboard: / searches, g and a letter goes to a page, j and k walk the rows.
const rows = [...document.querySelectorAll("table.rows tbody tr")].filter((r) => r.querySelector("a[href]"));
let at = -1, going = 0;
const walk = (step) => {
  rows[at]?.classList.remove("at");
  at = Math.max(0, Math.min(rows.length - 1, at + step));
  rows[at]?.classList.add("at");
  rows[at]?.querySelector("a[href]").focus();
};
const help = () => {
  let d = document.querySelector("dialog.keys");
  if (!d) {
    d = document.createElement("dialog");
    d.className = "keys";
    d.setAttribute("aria-label", "Keys");
    const line = (keys, what) => {
      const p = document.createElement("p");
      keys.forEach((k) => p.append(Object.assign(document.createElement("kbd"), { textContent: k }), " "));
      p.append(what);
      d.append(p);
    };
    line(["/"], "search");
    line(["j", "k"], "next and previous row");
    line(["[", "]"], "previous and next page");
    line(["n"], "new");
    for (const a of document.querySelectorAll("nav [data-key]")) if (/[a-z]/.test(a.dataset.key)) line(["g", a.dataset.key], a.textContent.trim());
    const close = document.createElement("form");
    close.method = "dialog";
    close.append(Object.assign(document.createElement("button"), { textContent: "Close" }));
    d.append(close);
    document.body.append(d);
  }
  d.showModal();
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
  const key = event.key;
  if (Date.now() - going < 1500) {
    going = 0;
    const to = document.querySelector(`.side nav [data-key="${CSS.escape(key)}"]`);
    if (to) {
      event.preventDefault();
      to.click();
    }
    return;
  }
  const search = document.querySelector("[data-search]");
  if (key === "/" && search) search.select();
  else if (key === "g") going = Date.now();
  else if (key === "j" && rows.length) walk(1);
  else if (key === "k" && rows.length) walk(-1);
  else if (key === "?") help();
  else if ("[]n".includes(key)) document.querySelector(`main [data-key="${key}"]`)?.click();
  else return;
  event.preventDefault();
});
