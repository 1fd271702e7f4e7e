// Prints each status event once, until it is ended: go run ./consumer
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func check[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	connection := check(amqp.Dial(os.Getenv("RABBITMQ_URL")))
	channel := check(connection.Channel())
	check(0, channel.Qos(50, 0, false))
	queue := check(channel.QueueDeclare("shop.events", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}))
	check(0, channel.QueueBind(queue.Name, "#", "omni.results", false, nil))
	seen := map[string]bool{} // in a database: an event may be repeated for 48 hours
	for message := range check(channel.Consume(queue.Name, "", false, false, false, false, nil)) {
		var event struct{ Id, Type, Subject string }
		check(0, json.Unmarshal(message.Body, &event))
		if !seen[event.Id] {
			fmt.Println(event.Id, event.Type, event.Subject)
			seen[event.Id] = true
		}
		check(0, message.Ack(false)) // after the work is done: else the broker delivers it again
	}
	log.Fatal("the connection is lost") // start again, by the container's restart policy
}
