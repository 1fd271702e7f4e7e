// Publishes requests: go run ./producer FIRST COUNT [urgent]
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

func check[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	first, count := check(strconv.Atoi(os.Args[1])), check(strconv.Atoi(os.Args[2]))
	exchange := "omni.requests"
	if len(os.Args) > 3 && os.Args[3] == "urgent" {
		exchange = "omni.requests.urgent"
	}
	connection := check(amqp.Dial(os.Getenv("RABBITMQ_URL")))
	defer connection.Close()
	channel := check(connection.Channel())
	check(0, channel.Confirm(false))
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	for order := first; order < first+count; order++ {
		name := fmt.Sprintf("shop-order-%d", order) // the same after a crash: a repeat is recognisable
		body := check(json.Marshal(map[string]any{"requestId": name, "messageId": name,
			"phoneNumber": "41793026727", "sms": map[string]string{"text": "Shipped"}}))
		message := amqp.Publishing{MessageId: name, ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: body}
		confirm := check(channel.PublishWithDeferredConfirm(exchange, "send", true, false, message))
		if !confirm.Wait() || len(returns) > 0 { // confirmed: the broker has stored it; returned: no queue takes requests
			log.Fatalf("%s was not stored", name)
		}
	}
}
