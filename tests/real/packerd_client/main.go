// Calls packer over REST with the client that go-swagger has generated from swagger.json, and prints what it decodes.
//
// packerd_client HOST:PORT TOKEN GITURL
package main

import (
	"encoding/json"
	"errors"
	"log"
	"os"

	httptransport "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"

	"packerd_client/client"
	"packerd_client/client/operations"
	"packerd_client/models"
)

const unknown = "00000000-0000-4000-8000-000000000000"

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	host, token, giturl := os.Args[1], os.Args[2], os.Args[3]
	transport := httptransport.New(host, "/-/packerd", []string{"http"})
	calls := client.New(transport, strfmt.Default).Operations
	auth := httptransport.BasicAuth("client", token)
	shown := map[string]any{}

	health, err := calls.GetHealth(operations.NewGetHealthParams())
	must(err)
	shown["health"] = health.Payload.Status

	_, empty, err := calls.GetBuildQueue(operations.NewGetBuildQueueParams(), auth)
	must(err)
	shown["empty"] = empty != nil

	key, value := "version", "0.21"
	body := &models.Buildrequest{
		Giturl:    &giturl,
		Branch:    "main",
		Buildvars: []*models.Variable{{Key: &key, Value: &value}},
	}
	accepted, err := calls.PostBuild(operations.NewPostBuildParams().WithBuildrequest(body), auth)
	must(err)
	shown["accepted"] = accepted.Payload

	queue, _, err := calls.GetBuildQueue(operations.NewGetBuildQueueParams(), auth)
	must(err)
	shown["queue"] = queue.Payload

	id := (*accepted.Payload[0].Href)[len("/build/queue/"):]
	request, err := calls.GetBuildQueueID(operations.NewGetBuildQueueIDParams().WithID(id), auth)
	must(err)
	must(request.Payload.Validate(strfmt.Default))
	shown["request"] = request.Payload

	stopped, err := calls.DeleteBuildQueueID(operations.NewDeleteBuildQueueIDParams().WithID(id), auth)
	must(err)
	shown["stopped"] = stopped.Payload.Status

	run, err := calls.GetBuildResponsesIDBuildnumber(
		operations.NewGetBuildResponsesIDBuildnumberParams().WithID(id).WithBuildnumber(0), auth)
	must(err)
	must(run.Payload.Validate(strfmt.Default))
	shown["run"] = run.Payload

	_, err = calls.GetBuildQueueID(operations.NewGetBuildQueueIDParams().WithID(unknown), auth)
	var refused *operations.GetBuildQueueIDBadRequest
	if !errors.As(err, &refused) {
		log.Fatalf("not the described error: %v", err)
	}
	shown["refused"] = refused.Payload

	must(json.NewEncoder(os.Stdout).Encode(shown))
}
