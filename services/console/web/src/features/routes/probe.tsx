import { useState } from "react";
import { api, once, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction } from "../../api/queries";
import { Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";
import { Facts } from "../../parts/page";
import { type Kind, Mark, State } from "../../parts/state";
import { Time } from "../../parts/time";
import type { Route } from "./fields";

type Probe = Schemas["RouteProbeView"];
type Connection = Schemas["ProbedConnectionView"];
type Step = Schemas["ProbeStepView"];

const OUTCOMES: Readonly<Record<Probe["outcome"], readonly [Kind, string]>> = {
  accepted: ["good", "The host takes mail"],
  deferred: ["warn", "Mail would wait"],
  refused: ["bad", "Mail would bounce"],
};
const VERDICTS: Readonly<Record<NonNullable<Connection["tls"]>["verdict"], string>> = {
  verified: "verified",
  dane: "verified by DANE",
  unverified: "not demanded by this route",
  rejected: "rejected",
};

/** Has a relay connect by a route without sending a message, and shows each reply. */
export function ProbeRoute({ route }: { route: Route }) {
  const can = useCan();
  const [isAsked, setIsAsked] = useState(false);
  if (!can("probeRoute")) return null;
  return (
    <>
      <button type="button" aria-label={`Probe ${route.domain}`} onClick={() => setIsAsked(true)}>
        Probe…
      </button>
      {isAsked && <ProbeDialog route={route} close={() => setIsAsked(false)} />}
    </>
  );
}

function ProbeDialog({ route, close }: { route: Route; close: () => void }) {
  const [found, setFound] = useState<Probe | null>(null);
  const path = { domain: route.domain };
  const probe = useAction(
    ({ recipient, key }: { recipient: string; key: string }) =>
      api.POST("/v1/routes/{domain}/probe", {
        params: { path },
        body: recipient === "" ? {} : { recipient },
        headers: once(key),
      }),
    { changes: [], said: (made) => OUTCOMES[made.outcome][1], done: (made) => setFound(made) },
  );
  return (
    <Dialog title={`Probe the route of ${route.domain}`} close={close} className="wide">
      {found === null ? (
        <Form
          action={probe}
          read={(values, key) => ({ recipient: String(values.get("recipient")).trim(), key })}
          label="Probe"
          cancel={close}
        >
          <p>A relay connects as it would for a message. No message is sent.</p>
          <Field
            name="recipient"
            label="Recipient to ask for"
            type="email"
            hint={
              route.domain === "*" ? "Of any domain." : `Empty, or an address of ${route.domain}.`
            }
            problem={probe.error}
            autoComplete="off"
            required={route.domain === "*" && route.host === null}
          />
        </Form>
      ) : (
        <Found found={found} />
      )}
    </Dialog>
  );
}

function Found({ found }: { found: Probe }) {
  const [kind, words] = OUTCOMES[found.outcome];
  return (
    <>
      <p>
        <State kind={kind}>{words}</State>
        {found.failure !== null && (
          <>
            {" "}
            <code className="reply">{found.failure.reply}</code> {found.failure.meaning}
          </>
        )}
      </p>
      {found.connections.map((each, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a host may be connected to twice
        <ConnectionView key={`${each.address} ${place}`} connection={each} />
      ))}
    </>
  );
}

function ConnectionView({ connection }: { connection: Connection }) {
  const { host, address, port, tls, authentication, extensions, steps } = connection;
  const name = `${host} (${address}) port ${port}`;
  return (
    <section className="lane" aria-label={name}>
      <h3>{name}</h3>
      <Facts
        facts={[
          ["TLS", tls === null ? "none" : `${tls.version} ${tls.cipher}`],
          ...(tls === null ? [] : [["Certificate", <Certificate key="tls" tls={tls} />] as const]),
          ["Login", authentication ?? "none was sent"],
          ["Extensions", extensions.join(", ") || "none"],
        ]}
      />
      <ol className="timeline">
        {steps.map((step, place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: two steps may be alike in all they hold
          <StepView key={`${step.stage} ${place}`} step={step} />
        ))}
      </ol>
    </section>
  );
}

function Certificate({ tls }: { tls: NonNullable<Connection["tls"]> }) {
  return (
    <>
      {VERDICTS[tls.verdict]}
      {tls.names.length > 0 && `; for ${tls.names.join(", ")}`}
      {tls.expires_at !== null && (
        <>
          ; until <Time at={tls.expires_at} />
        </>
      )}
      {tls.problem !== null && `; ${tls.problem}`}
    </>
  );
}

function StepView({ step }: { step: Step }) {
  const isBad =
    step.code === null ? step.stage !== "tls" || step.status !== null : step.code >= 400;
  return (
    <li>
      <p className="step-head">
        <Mark kind={isBad ? "bad" : "good"} /> <strong>{step.command || step.stage}</strong>{" "}
        <span className="weak">{Math.round(step.seconds * 1000)} ms</span>
      </p>
      {step.reply.split("\n").map((line) => (
        <p key={line}>
          <code className="reply">{line}</code>
        </p>
      ))}
      {step.meaning !== null && <p>{step.meaning}</p>}
    </li>
  );
}
