// The page of `lbfgs-style serve`. All addresses are relative: the page's own has the token.

const $ = (id) => document.getElementById(id);
const ENDED = ["finished", "stopped", "cancelled", "failed"];
const SIZES = [256, 384, 512, 768, 1024, 1536, 2048];

const chosen = { photo: null, paintings: [], masked: false };
let shown = null; // the job on the stage
let events = null; // its stream
let about = { looks: [], max_size: 1024, max_bytes: Infinity };

function say(text) {
  $("message").textContent = text;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer: is it still running?");
  }
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || `the server answered ${answer.status}`);
  return body;
}

// ---- what to paint

function setPhoto(file) {
  if (chosen.address) URL.revokeObjectURL(chosen.address);
  chosen.photo = file;
  chosen.address = URL.createObjectURL(file);
  const image = new Image(), canvas = $("canvas");
  image.alt = `Photo: ${file.name}`;
  canvas.photo = null;
  clearMask();
  image.onerror = () => say(`The browser cannot show ${file.name}; the server may read it all the same.`);
  image.onload = () => {
    if (chosen.photo !== file) return; // another one was chosen meanwhile
    canvas.width = 640;
    canvas.height = Math.max(1, Math.round((640 * image.naturalHeight) / image.naturalWidth));
    canvas.photo = image;
    clearMask();
  };
  image.src = chosen.address;
  $("photo-drop").querySelector(".shown").replaceChildren(image);
  ready();
}

function showPaintings() {
  const thumbs = chosen.paintings.map((painting) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = `Remove ${painting.file.name}`;
    button.setAttribute("aria-label", button.title);
    const image = new Image();
    image.src = painting.address;
    image.alt = "";
    button.append(image);
    button.onclick = () => {
      URL.revokeObjectURL(painting.address);
      chosen.paintings = chosen.paintings.filter((other) => other !== painting);
      showPaintings();
    };
    return button;
  });
  $("thumbs").replaceChildren(...thumbs);
  ready();
}

function ready() {
  $("paint").disabled = !(chosen.photo && chosen.paintings.length);
}

function takeFiles(drop, take) {
  const input = drop.querySelector("input");
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // the same file may be chosen again
  });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take([...event.dataTransfer.files].filter((file) => file.type.startsWith("image/") || !file.type));
  });
}

takeFiles($("photo-drop"), (files) => files.length && setPhoto(files[0]));
takeFiles($("paintings-drop"), (files) => {
  chosen.paintings.push(...files.map((file) => ({ file, address: URL.createObjectURL(file) })));
  showPaintings();
});
// A file that is dropped next to a field must not replace the page.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());

$("strength").addEventListener("input", () => ($("strength-shown").value = $("strength").value));
$("look").addEventListener("change", () => {
  const look = about.looks.find((row) => row.name === $("look").value);
  $("look-line").textContent = look ? look.line : "";
});

// ---- the mask: white where the mouse was, on a canvas of its own

const mask = document.createElement("canvas");

function clearMask() {
  const canvas = $("canvas");
  mask.width = canvas.width;
  mask.height = canvas.height;
  chosen.masked = false;
  drawMask();
}

function drawMask() {
  const canvas = $("canvas"), context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (canvas.photo) context.drawImage(canvas.photo, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 0.55;
  context.drawImage(mask, 0, 0);
  context.globalAlpha = 1;
}

function brush(event) {
  if (!(event.buttons & 1)) return;
  event.preventDefault();
  const canvas = $("canvas"), box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
  const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  const from = event.type === "pointerdown" || !brush.last ? [x, y] : brush.last;
  const context = mask.getContext("2d");
  context.strokeStyle = "#fff";
  context.lineCap = "round";
  context.lineWidth = Number($("brush").value) * scale;
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(x, y + 0.01);
  context.stroke();
  brush.last = [x, y];
  chosen.masked = true;
  drawMask();
}

$("canvas").addEventListener("pointerdown", (event) => {
  $("canvas").setPointerCapture(event.pointerId);
  brush(event);
});
$("canvas").addEventListener("pointermove", brush);
$("clear-mask").addEventListener("click", clearMask);

function maskFile() {
  const flat = document.createElement("canvas");
  flat.width = mask.width;
  flat.height = mask.height;
  const context = flat.getContext("2d");
  context.fillRect(0, 0, flat.width, flat.height); // black
  context.drawImage(mask, 0, 0);
  return new Promise((resolve) => flat.toBlob(resolve, "image/png"));
}

// ---- painting

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  say("");
  const options = { size: Number($("size").value), look: $("look").value, fast: $("fast").checked };
  if ($("strength").value !== "0.5" || options.look === "default") options.strength = Number($("strength").value);
  if ($("colours").checked) options.preserve_color = "luminance";
  const form = new FormData();
  form.append("content", chosen.photo);
  for (const painting of chosen.paintings) form.append("style", painting.file);
  if (chosen.masked) form.append($("mask-use").value, await maskFile(), "mask.png");
  form.append("options", JSON.stringify(options));
  await begin("api/jobs", { method: "POST", body: form });
});

$("larger").addEventListener("click", () => {
  const size = Math.min(2 * shown.size, about.max_size);
  begin(`api/jobs/${shown.id}/again`, { method: "POST", body: JSON.stringify({ size }) });
});

async function begin(path, request) {
  $("paint").disabled = $("larger").disabled = true;
  say("");
  try {
    follow(await ask(path, request));
    if (matchMedia("(max-width: 760px)").matches) $("stage").scrollIntoView({ behavior: "smooth" });
  } catch (error) {
    say(error.message);
  }
  $("larger").disabled = false;
  ready();
}

$("halt").addEventListener("click", async () => {
  $("halt").disabled = true;
  try {
    await ask(`api/jobs/${shown.id}`, { method: "DELETE" });
  } catch (error) {
    say(error.message);
    $("halt").disabled = false;
  }
});

// ---- the stage

function follow(job) {
  events?.close();
  shown = null;
  $("slider").value = 0;
  slide();
  show(job);
  if (ENDED.includes(job.state)) return;
  $("halt").disabled = false;
  events = new EventSource(`api/jobs/${job.id}/events`);
  const source = events;
  for (const state of ["queued", "running", ...ENDED]) {
    source.addEventListener(state, (event) => {
      show(JSON.parse(event.data));
      if (ENDED.includes(state)) source.close();
    });
  }
  source.onerror = () => {
    $("status").textContent = "The connection to the server is lost; trying again …";
  };
}

// A hidden page needs no stream: a browser has six connections to a server, for all its pages.
document.addEventListener("visibilitychange", async () => {
  if (document.hidden) {
    events?.close();
  } else if (shown && !ENDED.includes(shown.state)) {
    try {
      follow(await ask(`api/jobs/${shown.id}`));
    } catch (error) {
      say(error.message);
    }
  }
});

function show(job) {
  const before = shown;
  shown = job;
  const ended = ENDED.includes(job.state), made = job.state === "finished" || job.state === "stopped";
  if (job.preview && (before?.preview !== job.preview || before.id !== job.id)) {
    $("picture").src = made ? `api/jobs/${job.id}/image` : `api/jobs/${job.id}/preview?${job.preview}`;
  }
  $("compare").hidden = !job.preview;
  $("empty").hidden = Boolean(job.preview);
  $("bar").hidden = ended;
  $("bar").value = job.progress || 0;
  $("halt").hidden = ended;
  $("slide").hidden = !made;
  if (made) {
    $("before").src = `api/jobs/${job.id}/content`;
    $("download").href = `api/jobs/${job.id}/image`;
    $("download").download = `lbfgs-style-${job.id}.png`;
  }
  $("before").hidden = !made;
  $("download").hidden = !made;
  $("larger").hidden = job.state !== "finished" || job.size >= about.max_size;
  $("larger").textContent = `Paint it large (${Math.min(2 * job.size, about.max_size)} px)`;
  $("status").textContent = described(job);
  if (ended || job.state !== before?.state || before.id !== job.id) remember();
}

function described(job) {
  if (job.state === "queued") return job.waiting_before ? `Waiting: ${job.waiting_before} before this one.` : "Starting …";
  if (job.state === "failed") return `It failed: ${job.error}`;
  if (job.state === "cancelled") return "Cancelled before there was a picture.";
  const size = `${job.width} × ${job.height} px in ${job.seconds} s`;
  if (job.state === "finished") return `${job.content}: ${size}.`;
  if (job.state === "stopped") return `Stopped: the best picture so far, ${size}.`;
  if (!job.progress) return "Starting …";
  const left = job.seconds > 2 ? `, about ${Math.ceil((job.seconds * (1 - job.progress)) / job.progress)} s left` : "";
  return `${Math.round(100 * job.progress)} %${left}`;
}

function slide() {
  $("before").style.clipPath = `inset(0 ${100 - $("slider").value}% 0 0)`;
}
$("slider").addEventListener("input", slide);

// ---- what was made

async function remember() {
  let jobs;
  try {
    jobs = (await ask("api/jobs")).jobs;
  } catch {
    return; // the stage says so
  }
  const items = jobs
    .filter((job) => job.preview || job.state === "running" || job.state === "queued")
    .reverse()
    .map((job) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.title = `${job.content} in the style of ${job.styles.join(", ")}`;
      button.setAttribute("aria-current", String(job.id === shown?.id));
      if (job.preview) {
        const image = new Image();
        image.src = `api/jobs/${job.id}/preview?${job.preview}`;
        image.alt = button.title;
        button.append(image);
      } else {
        button.textContent = job.state;
      }
      button.onclick = () => follow(job);
      item.append(button);
      return item;
    });
  $("history").replaceChildren(...items);
  $("history-title").hidden = items.length === 0;
}

async function start() {
  try {
    about = await ask("api/about");
  } catch (error) {
    say(error.message);
  }
  $("look").replaceChildren(...about.looks.map((row) => new Option(row.name, row.name)));
  const sizes = [...SIZES.filter((size) => size < about.max_size), about.max_size];
  const usual = Math.min(512, about.max_size);
  $("size").replaceChildren(...sizes.map((size) => new Option(`${size} px`, size, size === usual, size === usual)));
  $("look").dispatchEvent(new Event("change"));
  remember();
}
start();
