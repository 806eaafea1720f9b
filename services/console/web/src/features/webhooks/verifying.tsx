import { Copy } from "../../parts/copy";
import { Section } from "../../parts/page";

const PYTHON = `import base64, hashlib, hmac, time

def is_genuine(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """secret: the one that was shown, with whsec_; body: as it came, before it is read as JSON."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    is_fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return is_fresh and any(
        hmac.compare_digest(wanted, each) for each in headers["webhook-signature"].split()
    )
`;

/** How a receiver verifies that a request comes from here. */
export function Verifying() {
  return (
    <Section
      title="Verify the signature"
      actions={<Copy text={PYTHON} what="function that verifies" label="Copy function" />}
    >
      <p>
        Requests are signed as Standard Webhooks are (HMAC-SHA256); libraries for many languages
        verify them. In Python without one:
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls takes the arrow keys */}
      <pre className="json" tabIndex={0}>
        {PYTHON}
      </pre>
    </Section>
  );
}
