// The pages of passkeys: `/login#TICKET` proves who somebody is to a command line that waits, `/enrol#SECRET` registers a
// passkey. What stands after the # is sent to the node's own endpoints alone, in bodies, and is kept nowhere.

const element = (id) => document.getElementById(id);
const page = document.body.dataset.page;
const button = element("go");
const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

/** What went wrong, why, and what to do next. */
class Problem extends Error {
  constructor(title, { detail = "", help = "", code = "", final = false } = {}) {
    super(title);
    Object.assign(this, { detail, help, code, final });
  }
}

const again = {
  login: "Run `strongroom login` again and open the new link.",
  enrol: "Ask whoever administers the node for a new link.",
}[page];

/** One request to the node. What it refuses for good (404, 410) ends the page: the link is of no more use. */
async function post(path, body) {
  let reply, text;
  try {
    reply = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(30_000),
    });
    text = await reply.json();
  } catch {
    throw new Problem("The node did not answer.", { help: "See that it runs and can be reached, then try again." });
  }
  if (!reply.ok) {
    const final = [404, 410].includes(reply.status);
    throw new Problem(text.title, { detail: text.detail, help: final ? again : text.help, code: text.code, final });
  }
  return text;
}

/** Runs a ceremony of the browser; its own words for what went wrong are for programmers. */
async function ceremony(start) {
  try {
    return await start();
  } catch (error) {
    const said = {
      NotAllowedError: new Problem("No passkey was used.", {
        detail: "You ended it, it took too long, or there is no passkey for this node on the device you chose.",
        help: "Try again, or choose another device.",
      }),
      InvalidStateError: new Problem("This authenticator has a passkey for this account already.", {
        help: "You can log in with it: run `strongroom login`. Or try again with another authenticator.",
      }),
      SecurityError: new Problem("The browser makes no passkeys for this address.", {
        help: "Open the link exactly as it was printed: the name in it counts.",
      }),
    }[error.name];
    throw said ?? new Problem("The browser refused.", { detail: `${error.name}: ${error.message}`, help: "Try again, or try another browser." });
  }
}

async function login() {
  const { options } = await post("/v1/login/passkey/options", { ticket: secret });
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey);
  say("Waiting for your passkey …");
  const credential = await ceremony(() => navigator.credentials.get({ publicKey }));
  say("Checking …");
  const done = await post("/v1/login/passkey", { ticket: secret, credential: credential.toJSON() });
  if (done.redirect) {
    // To a listener of this machine and nowhere else, whatever the node says.
    const to = new URL(done.redirect);
    if (to.protocol !== "http:" || !["127.0.0.1", "[::1]"].includes(to.hostname)) {
      throw new Problem("The node wants to send you to an address that is not of this machine.", { help: again, final: true });
    }
    finish("You proved who you are. Handing over to the command line …");
    location.replace(to);
    return;
  }
  finish("You proved who you are.");
  element("code-text").value = done.code;
  element("code").hidden = false;
}

async function enrol() {
  const { user, options } = await post("/v1/enrol/options", { secret });
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey);
  say(`Waiting for your authenticator to make a passkey for ${user} …`);
  const credential = await ceremony(() => navigator.credentials.create({ publicKey }));
  say("Checking …");
  const body = { secret, credential: credential.toJSON(), label: element("label").value };
  const done = await post("/v1/enrol", body);
  finish(`The passkey of ${done.user} is registered. Log in with \`strongroom login\`; you may close this page.`);
}

/** Puts a text with commands in back-ticks into an element; never as markup. */
function write(into, text) {
  into.replaceChildren(
    ...text.split("`").map((part, at) => {
      if (at % 2 === 0) return part;
      const code = document.createElement("code");
      code.textContent = part;
      return code;
    }),
  );
}

const say = (text) => write(element("status"), text);

function finish(text) {
  element("intro").hidden = true;
  element("form").hidden = true;
  say(text);
  element("status").focus();
}

function fail(problem) {
  say("");
  const lines = [problem.message, problem.detail, problem.help].filter(Boolean);
  const box = element("problem");
  box.replaceChildren(
    ...lines.map((line) => {
      const p = document.createElement("p");
      const sentence = line.charAt(0).toUpperCase() + line.slice(1);
      write(p, /[.!?]$/.test(sentence) ? sentence : `${sentence}.`);
      return p;
    }),
  );
  if (problem.code) {
    const p = document.createElement("p");
    p.className = "quiet";
    p.textContent = problem.code;
    box.append(p);
  }
  box.hidden = false;
  element("form").hidden = problem.final;
  box.focus();
}

element("site").textContent = location.host;
element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  element("problem").hidden = true;
  try {
    await (page === "login" ? login() : enrol());
  } catch (error) {
    fail(error instanceof Problem ? error : new Problem("Something went wrong on this page.", { detail: String(error), help: "Try again." }));
  }
  button.disabled = false;
});

if (!secret) {
  fail(new Problem("The link is not whole.", { detail: "What stands after the # is missing; it is also gone after the page was loaded again.", help: page === "login" ? again : "Open the link again, all of it.", final: true }));
} else if (!window.PublicKeyCredential?.parseCreationOptionsFromJSON) {
  fail(new Problem("This browser is too old for passkeys here.", { help: "Open the link in a current Chrome, Edge, Firefox or Safari.", final: true }));
} else {
  element("form").hidden = false;
}
