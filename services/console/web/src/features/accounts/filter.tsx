import { api, only } from "../../api/client";
import { useCan } from "../../api/me";
import { FilterPolicy } from "../../parts/filter-policy";
import type { Mark } from "../../parts/managed";

/** What the filters do with an account's mail. */
export function Filter({ address, mark }: { address: string; mark: Mark }) {
  const can = useCan();
  const path = { address };
  return (
    <FilterPolicy
      owner={address}
      mark={mark}
      stored={() => api.GET("/v1/accounts/{address}/filter-policy", { params: { path } })}
      effective={() =>
        api.GET("/v1/accounts/{address}/filter-policy/effective", { params: { path } })
      }
      save={
        can("setAccountFilterPolicy") &&
        ((body, tag) =>
          api.PUT("/v1/accounts/{address}/filter-policy", {
            params: { path, header: only(tag) },
            body,
          }))
      }
    />
  );
}
