import { answer, api, once, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useList, useOne } from "../../api/queries";
import { type AppPassword, AppPasswords } from "../../parts/account/app-passwords";
import { type PhoneMaker, SetUp } from "../../parts/account/phone";
import { type SignIn, SignIns } from "../../parts/account/sign-ins";
import { Failure } from "../../parts/notices";
import { setUpText } from "./set-up";

/** App passwords and sign-ins of an account, and what a mail client is set up with. */
export function Passwords({ address }: { address: string }) {
  const can = useCan();
  const path = { address };
  const list = useList<AppPassword>(["app-passwords", address], (cursor) =>
    api.GET("/v1/accounts/{address}/app-passwords", {
      params: { path, query: { limit: 100, cursor } },
    }),
  );
  return (
    <>
      <AppPasswords
        list={list}
        command={`posthorn app-password create ${address} phone`}
        create={
          can("createAppPassword") &&
          ((body, headers) =>
            api.POST("/v1/accounts/{address}/app-passwords", { params: { path }, body, headers }))
        }
        remove={
          can("deleteAppPassword") &&
          ((id) =>
            api.DELETE("/v1/accounts/{address}/app-passwords/{id}", {
              params: { path: { address, id } },
            }))
        }
      />
      {can("listSignIns") && <History address={address} />}
      {can("getDns") && <Clients address={address} />}
    </>
  );
}

function History({ address }: { address: string }) {
  const list = useList<SignIn>(["sign-ins", address], (cursor) =>
    api.GET("/v1/accounts/{address}/sign-ins", {
      params: { path: { address }, query: { limit: 50, cursor } },
    }),
  );
  return <SignIns list={list} command={`posthorn account sign-ins ${address}`} />;
}

function Clients({ address }: { address: string }) {
  const can = useCan();
  const name = address.slice(address.lastIndexOf("@") + 1);
  const dns = useOne(["domains", name, "dns"], () =>
    answer(api.GET("/v1/domains/{name}/dns", { params: { path: { name } } })),
  );
  if (dns.data === undefined) return <Failure problem={dns.error} />;
  const servers = dns.data.client_servers;
  const reading = servers.find((server) => server.protocol !== "smtp")?.protocol ?? "imap";
  const maker: PhoneMaker<Schemas["NewAppPasswordView"]> = {
    call: ({ name, key }) =>
      api.POST("/v1/accounts/{address}/app-passwords", {
        params: { path: { address } },
        body: { name, scopes: [reading, "smtp"] },
        headers: once(key),
      }),
    /* an answer that is repeated holds no password */
    code: ({ password }, { displayName }) =>
      password && setUpText(servers, address, displayName, password),
  };
  const isOffered = can("createAppPassword") && setUpText(servers, address, "", "") !== null;
  return <SetUp address={address} servers={servers} maker={isOffered && maker} />;
}
